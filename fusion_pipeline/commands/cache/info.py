"""`fusion cache info`: who made a store, when, of what, and how far to trust it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from fusion_pipeline.commands import inputs
from fusion_pipeline.commands.console import Console
from fusion_pipeline.commands.options import uses
from fusion_pipeline.config import Settings
from fusion_pipeline.errors import printable

if TYPE_CHECKING:
    from fusion_pipeline.store import Store

_MADE = ("device", "threads", "batch_size", "versions", "source", "also_made_with", "migrated_from")
_IDENTITY = ("backbone", "weights", "preprocessing", "thumbnails", "decoder", "budget", "dtype", "precision", "dataset")
_DEVIATIONS = {
    "deviation": "of the features from a float32 network's on a CPU, relative, on two random images",
    "softmax_deviation": "of the probabilities from what the stored head makes of the features, on all rows",
}


@click.command()
@click.argument("names", nargs=-1, metavar="[STORE[,STORE...]]...")
@uses("data", "dataset", "cache")
def info(names: tuple[str, ...], settings: Settings, console: Console) -> None:
    """Tell all that is known of stores.

    Who made them, when and with what; what they were made from; size, bad rows, deviations; and the digests of their
    manifests, which --expect-manifest takes. STORE is a backbone, 'index', or a folder as 'fusion cache ls' shows it.
    Without one it is all stores of the current version of the images.

    \b
    Example:
      fusion cache info xception
    """
    from fusion_pipeline.extract.networks.backbones import split_names
    from fusion_pipeline.store.care.selection import name_stores, select_stores

    home, dataset = inputs.opened_cache(settings), inputs.chosen_dataset(settings)
    stores = name_stores(home, dataset, split_names(names)) if names else select_stores(home, dataset)
    found = [(store, _bad_rows(store)) for store in stores]
    for store, bad in found:
        console.tell(_lines(store, bad))
    console.document({"stores": [_to_json(store, bad) for store, bad in found]})


def _bad_rows(store: Store) -> dict[str, int]:
    """Return the number of bad rows by the reason, the most frequent one first."""
    from collections import Counter

    from fusion_pipeline.images.decode import Reason

    known = {reason.value: reason.text for reason in Reason}
    counts = Counter(store.status.tolist())
    del counts[Reason.OK]
    return {known.get(code, f"code {code} of a later version"): count for code, count in counts.most_common()}


def _lines(store: Store, bad: Mapping[str, int]) -> Iterator[str]:
    yield f"{printable(store.dataset)}/{printable(store.folder)}"
    facts = list(_facts(store, bad))
    width = max(len(name) for name, _ in facts)
    yield from (f"  {name:<{width}}  {printable(text)}" for name, text in facts)


def _facts(store: Store, bad: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    manifest, made = store.manifest, store.manifest.made
    yield "made by", f"{made.get('user', 'unknown')} on {made.get('host', 'an unknown machine')}"
    yield "made at", manifest.created or "unknown"
    yield from ((_words(key), _text(made[key])) for key in _MADE if made.get(key))
    yield from ((_words(key), _text(manifest.identity[key])) for key in _IDENTITY if key in manifest.identity)
    for key, meaning in _DEVIATIONS.items():
        if key in made:
            yield _words(key), f"{_text(made[key])} {meaning}"
    if reused := made.get("reused_from"):
        yield "reused", _reused(reused)
    yield "rows", f"{store.rows:,} in partitions of {manifest.partition_rows:,}"
    yield "bad rows", ", ".join(f"{count:,} {reason}" for reason, count in bad.items()) or "none"
    yield "size", f"{store.n_bytes / 1e6:,.1f} MB in {len(manifest.files):,} files"
    yield "location", store.location
    yield "format", _format(store)
    yield from (("key", manifest.key), ("manifest", store.manifest_digest), ("content", manifest.content))


def _reused(sources: Any) -> str:
    if not isinstance(sources, Mapping):
        return _text(sources)
    return ", ".join(f"{_text(rows)} rows of {source}" for source, rows in sources.items())


def _words(key: str) -> str:
    return key.replace("_", " ")


def _text(value: Any) -> str:
    """Return a value of JSON that somebody else wrote in a line."""
    match value:
        case Mapping():
            return ", ".join(f"{_words(str(key))} {_text(item)}" for key, item in value.items())
        case list():
            return "; ".join(map(_text, value))
        case float():
            return f"{value:.6g}"
        case None:
            return "none"
        case _:
            return str(value)


def _format(store: Store) -> str:
    from fusion_pipeline.store.identity import FORMAT_MAJOR

    return f"{FORMAT_MAJOR}.{store.manifest.minor}"


def _to_json(store: Store, bad: Mapping[str, int]) -> dict[str, Any]:
    manifest = store.manifest
    return {
        "dataset": store.dataset,
        "folder": store.folder,
        "kind": manifest.kind,
        "name": manifest.name,
        "format": _format(store),
        "key": manifest.key,
        "manifest": store.manifest_digest,
        "content": manifest.content,
        "rows": manifest.rows,
        "partition_rows": manifest.partition_rows,
        "bad": dict(bad),
        "files": len(manifest.files),
        "bytes": store.n_bytes,
        "identity": dict(manifest.identity),
        "made": dict(manifest.made),
        "path": store.location,
    }
