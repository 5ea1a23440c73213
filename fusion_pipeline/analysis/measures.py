"""A kept run becomes every measure of it, and what to know beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fusion_pipeline.analysis.agreement import Agreement, measure_agreement
from fusion_pipeline.analysis.calibration import Reliability, measure_calibration
from fusion_pipeline.analysis.class_f1 import ClassF1, measure_class_f1
from fusion_pipeline.analysis.class_wins import ClassWins, count_wins
from fusion_pipeline.analysis.confused_pair import ConfusedPair, find_confused_pair
from fusion_pipeline.analysis.correct_experts import CorrectExperts, count_correct
from fusion_pipeline.analysis.distinct_votes import DistinctVotes, by_distinct_votes
from fusion_pipeline.analysis.kept_run import KeptRun, KeptStores
from fusion_pipeline.analysis.moe import choose_moe
from fusion_pipeline.analysis.projection import project
from fusion_pipeline.analysis.subsets import ALL_SUBSETS_OF, Subsets, measure_subsets
from fusion_pipeline.analysis.trust import Trust, measure_trust
from fusion_pipeline.analysis.votes import Votes
from fusion_pipeline.errors import printable
from fusion_pipeline.store import layout
from fusion_pipeline.train.predictions import Predictions, RowPredictions
from fusion_pipeline.train.rows import AVERAGE, GATE, RowName

FloatArray = NDArray[np.float64]

_SIZES = (64, 32)  # of thumbnails, the best first


@dataclass(frozen=True)
class Measures:
    """Everything that is measured of one run.

    Attributes
    ----------
    run : KeptRun
    votes : Votes
    moe : RowPredictions or None
        The row that stands for the fused model; None if the table has none.
    agreement : Agreement
        Figure 2.
    correct : CorrectExperts
        Figure 3.
    class_f1 : ClassF1
        Figure 4.
    class_wins : ClassWins
        Figure 5.
    confused : ConfusedPair or None
        Figure 6; None if no expert ever errs.
    projections : mapping of str to ndarray (n_first + n_second, 2)
        By backbone, of the images of the confused pair, those of the first class first; empty without stores.
    pictures : mapping of int to ndarray (size, size, 3), uint8
        Thumbnails of the images that figures show, by image; empty without stores.
    distinct : tuple of DistinctVotes
        The end of Section 2; the fused rows are `average` and the one that stands for the fused model.
    trust : Trust or None
        None if the row that stands for the fused model is no gate.
    subsets : Subsets
    calibration : tuple of Reliability
        Of each backbone, of `average` and of the row that stands for the fused model.
    notes : tuple of str
        What is missing and why, one sentence each.
    """

    run: KeptRun
    votes: Votes
    moe: RowPredictions | None
    agreement: Agreement
    correct: CorrectExperts
    class_f1: ClassF1
    class_wins: ClassWins
    confused: ConfusedPair | None
    projections: Mapping[str, FloatArray]
    pictures: Mapping[int, NDArray[np.uint8]]
    distinct: tuple[DistinctVotes, ...]
    trust: Trust | None
    subsets: Subsets
    calibration: tuple[Reliability, ...]
    notes: tuple[str, ...]

    @property
    def moe_name(self) -> str:
        """What the table calls the fused row; empty without one."""
        return "" if self.moe is None else self.moe.row.text


def measure(
    run: KeptRun,
    row: str | None = None,
    stores: KeptStores | None = None,
    multiply_adds: Mapping[str, float] | None = None,
) -> Measures:
    """Take every measure of a run.

    Parameters
    ----------
    run : KeptRun
    row : str, optional
        The row that stands for the fused model; `choose_moe` takes one by default.
    stores : KeptStores, optional
        For the projections of features, which are left out without them.
    multiply_adds : mapping of str to float, optional
        Of one image, by backbone, as far as known.

    Raises
    ------
    IncompleteError, UsageError, RefusedError
        As of `Votes.of` and `choose_moe`.
    """
    predictions, votes = run.predictions, Votes.of(run.predictions)
    moe = choose_moe(predictions, row)
    fused, name = (None, "") if moe is None else (votes.of_row(moe), moe.row.text)
    averaged = _average(predictions, votes)
    confused, trust = find_confused_pair(votes), _trust(run, moe)
    rows = {each.row.text: each for each in (averaged, *([] if moe is None else [moe]))}
    found = Measures(
        run,
        votes,
        moe,
        measure_agreement(votes),
        count_correct(votes),
        measure_class_f1(votes, fused, name),
        count_wins(votes, fused, name),
        confused,
        {} if stores is None or confused is None else _projections(stores, confused, predictions),
        {} if stores is None else _pictures(stores, predictions, confused, trust),
        by_distinct_votes(votes, {text: votes.of_row(each) for text, each in rows.items()}),
        trust,
        measure_subsets(votes.experts, _probabilities(predictions, votes), votes.labels, multiply_adds),
        tuple(
            measure_calibration(each.row.text, each.probabilities, predictions.labels)
            for each in (*_experts(predictions, votes), *rows.values())
        ),
        (),
    )
    return replace(found, notes=tuple(_notes(found)))


def rows_of(runs: Mapping[str, Measures]) -> tuple[list[str], list[str]]:
    """Return the names of the backbones of some runs, then those of the fused rows; repeated ones repeat."""
    backbones = [name for found in runs.values() for name in found.votes.experts]
    return backbones, [AVERAGE, *(found.moe_name for found in runs.values())]


def _experts(predictions: Predictions, votes: Votes) -> list[RowPredictions]:
    return [each for each in predictions.rows if each.row.text in votes.experts]


def _probabilities(predictions: Predictions, votes: Votes) -> list[NDArray[np.float32]]:
    """Return the probabilities (m, n_classes) of each expert, in the order of the votes."""
    return [each.probabilities[votes.repeats, votes.images] for each in _experts(predictions, votes)]


def _average(predictions: Predictions, votes: Votes) -> RowPredictions:
    """Return the plain average: the table's own row, or what it would be."""
    kept = predictions.row(AVERAGE)
    if kept is not None:
        return kept
    means = np.mean([each.probabilities.astype(np.float64) for each in _experts(predictions, votes)], axis=0)
    predicted = np.where(np.isnan(means[:, :, 0]), -1, np.nan_to_num(means).argmax(axis=2))
    return RowPredictions(RowName(GATE, AVERAGE), means.astype(np.float32), predicted.astype(np.int64), None)


def _trust(run: KeptRun, moe: RowPredictions | None) -> Trust | None:
    if moe is None or moe.gate_weights is None:
        return None
    return measure_trust(run.predictions, moe, run.experts_of(moe), run.scored(moe.row.text)["fallbacks"])


def _projections(stores: KeptStores, confused: ConfusedPair, predictions: Predictions) -> dict[str, FloatArray]:
    rows = predictions.usable_rows[np.concatenate(confused.images)]
    return {name: project(stores.backbones[name].read(layout.FEATURES)[rows]) for name in confused.experts}


def _pictures(
    stores: KeptStores, predictions: Predictions, confused: ConfusedPair | None, trust: Trust | None
) -> dict[int, NDArray[np.uint8]]:
    wanted = {image for image in (confused.mistaken if confused else ()) if image is not None}
    if trust is not None:
        wanted |= {each.image for ends in (trust.most, trust.least) for of_expert in ends for each in of_expert}
    sizes = [size for size in _SIZES if layout.THUMBNAILS.format(size=size) in stores.index.array_names]
    if not wanted or not sizes:
        return {}
    images = sorted(wanted)
    pictures = stores.index.thumbnails(sizes[0]).oindex[predictions.usable_rows[images]]
    return dict(zip(images, np.asarray(pictures), strict=True))


def _notes(found: Measures) -> Iterator[str]:
    run, trust = found.run, found.trust
    missing = [name for name in run.predictions.backbones if name not in found.votes.experts]
    if missing:
        yield f"The table has no row of {', '.join(map(printable, missing))}, which no measure knows therefore."
    tested = len(np.unique(found.votes.images))
    if len(found.votes.labels) > tested:
        yield (
            f"{tested:,} images were tested in {run.summary['protocol']['repeats']} repeats: where figures and tables "
            f"count images, an image counts in each, {len(found.votes.labels):,} in all."
        )
    if len(run.predictions.backbones) == 1:
        yield "One backbone agrees with nobody and wins every class: add others to compare it with."
    if found.moe is None:
        yield "The table has no fused row that does not leak, so that the figures are of the backbones alone."
    if trust is not None and trust.averaged and len(trust.experts) > 1:
        yield (
            f"{printable(trust.row)} fell back to averaging in {trust.averaged} of {trust.parts} parts: its weights "
            f"there are 1/{len(trust.experts)} for every image."
        )
    if found.confused is None:
        yield "No backbone ever errs: there is no pair of classes to confuse."
    elif not found.projections:
        yield "The stores were not opened, so that there are no projections of features."
    if not found.subsets.front:
        yield "The multiply-adds of the backbones are not known, so that gain cannot be drawn against cost."
    if not found.subsets.exhaustive:
        yield f"More than {ALL_SUBSETS_OF} backbones: subsets grow by the backbone that is best to add."
