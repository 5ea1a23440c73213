"""What the stages found, into the lines that people read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from fusion_pipeline.errors import FusionError, printable

if TYPE_CHECKING:
    from fusion_pipeline.extract.networks.catalogue import Entry, Row
    from fusion_pipeline.extract.passes import StoreResult
    from fusion_pipeline.extract.run import Extraction
    from fusion_pipeline.extract.verdict import Verdict
    from fusion_pipeline.images.decode import Reason
    from fusion_pipeline.predict import Prediction
    from fusion_pipeline.train.run import Training

_BAD_SHOWN = 20


def in_a_column(names: Iterable[str]) -> list[str]:
    """Return names safe for a terminal, as wide as the widest.

    Examples
    --------
    >>> in_a_column(["roses/index-12", "my-flowers/index-34"])
    ['roses/index-12     ', 'my-flowers/index-34']
    """
    shown = [printable(name) for name in names]
    width = max(map(len, shown), default=0)
    return [f"{name:<{width}}" for name in shown]


def extraction_lines(result: Extraction) -> Iterator[str]:
    """Yield a line per store, the speed with what held it back, and what was skipped."""
    for item in (result.index, *result.backbones):
        state = _state(item)
        name, path = printable(item.store.name), printable(item.store.location)
        yield f"{name:<20} {item.store.rows:>9,} rows  {state:<24} {path}"
    yield f"{result.opens:,} files opened, {result.images_per_second:,.1f} images/s; {result.verdict.text}"
    yield from _speed(result.verdict)
    yield from islice(skipped_lines(result.bad), _BAD_SHOWN)
    if len(result.bad) > _BAD_SHOWN:
        yield f"and {len(result.bad) - _BAD_SHOWN:,} more skipped"


def _speed(verdict: Verdict) -> Iterator[str]:
    """Yield how busy each stage was, and how near the run came to what the machine can do."""
    if verdict.share_of_limit is None:
        return
    busy = ", ".join(f"{name} {100 * stage.share:.0f} %" for name, stage in verdict.stages.items())
    limits = ", ".join(f"{name} {limit:,.1f}" for name, limit in verdict.limits.items() if limit)
    reached = f"{100 * verdict.share_of_limit:.0f} % of the limit reached"
    yield f"busy: {busy}; never waiting, in images/s: {limits}; {reached}"


def _state(item: StoreResult) -> str:
    if item.overtaken:
        return f"{item.computed:,} computed, published by another run"
    if item.computed and item.reused:
        return f"{item.computed:,} computed, {item.reused:,} reused"
    return f"{item.computed:,} rows computed" if item.computed else "up to date"


def backbone_lines(rows: Sequence[Row]) -> Iterator[str]:
    """Yield a line per backbone under a heading: what it is, and where its weights are, or what is wrong with it."""
    names = in_a_column(["name", *map(_full_name, rows)])
    yield f"{names[0]}  {'params':>8} {'features':>8} {'input':>5} {'classes':>7}  weights"
    for name, row in zip(names[1:], rows, strict=True):
        if isinstance(row.found, FusionError):
            yield f"{name}  {printable(str(row.found))}"
            continue
        entry = row.found
        classes = f"{entry.n_classes:,}" if entry.n_classes else "none"
        numbers = f"{entry.parameters / 1e6:>6.1f} M {entry.n_features:>8,} {entry.input_size:>5} {classes:>7}"
        yield f"{name}  {numbers}  {_whereabouts(entry)}"


def _full_name(row: Row) -> str:
    model = row.name if row.backbone is None else row.backbone.model
    return row.name if row.name == model else f"{row.name} = {model}"


def _whereabouts(entry: Entry) -> str:
    weights = entry.backbone.weights
    if entry.at_hand is not None:
        return f"at hand: {printable(weights or str(entry.at_hand))}"
    if weights is not None and entry.url is None:
        return f"missing: {printable(weights)}"
    return "to be downloaded" if entry.url else "none published"


def training_lines(result: Training) -> Iterator[str]:
    """Yield the data set with the protocol, the table, the comparisons and the model's folder."""
    from fusion_pipeline.train.table import format_comparison, format_table

    dataset, protocol, classifier = result.summary["dataset"], result.summary["protocol"], result.found.classifier
    yield (
        f"{printable(dataset['name'])}: {dataset['usable']:,} images, {dataset['classes']} classes, "
        f"{protocol['folds']}-fold cross-validation, seed {protocol['seed']}"
    )
    yield from ("", *format_table(result.rows).splitlines(), "")
    yield from map(format_comparison, result.comparisons)
    if classifier.fallback_ and len(classifier.experts_) > 1:  # one expert leaves nothing to learn
        yield "The model averages: on all images too its gate learned nothing better."
    yield f"model: {printable(str(result.model))}"


def prediction_lines(predictions: Sequence[Prediction], bad: Mapping[str, Reason]) -> Iterator[str]:
    """Yield a line per photograph: what is on it and whom the gate trusted; then what was skipped."""
    for item in predictions:
        trust = ", ".join(f"{printable(name)} {weight:.2f}" for name, weight in item.gate.items())
        yield f"{printable(item.path)}: {printable(item.label)} ({item.probability:.1%}); gate: {trust}"
    yield from skipped_lines(bad)


def skipped_lines(bad: Mapping[str, Reason]) -> Iterator[str]:
    """Return a line per image that could not be decoded."""
    return (f"skipped {printable(name)}: {reason.text}" for name, reason in bad.items())
