"""The arrays of a backbone's store into how well they agree with each other: what no checksum can tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from fusion_pipeline.errors import FusionError
from fusion_pipeline.store import layout
from fusion_pipeline.store.cache import DatasetStores
from fusion_pipeline.store.care.verify import ALL, Damage, Report, Subset, verify, verify_dataset
from fusion_pipeline.store.reader import Store

ROWS = "rows"
"""The kind of what is wrong though every checksum is right."""

_ROUNDING = 1e-5  # of the matrix product itself: another BLAS adds up in another order
_UNKNOWN = 0.02  # for stores that do not say how far theirs were: far below what another row or layer shows
_MOST = 0.1  # whose writer measured more had other weights or another layer itself


def softmax_deviation(arrays: Mapping[str, np.ndarray]) -> float | None:
    """Return the greatest difference between probabilities and the softmax of the head on the features.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        ``features`` (n, d), ``imagenet_probabilities`` (n, m), ``status`` (n,), ``head_weight`` (m, d) and
        ``head_bias`` (m,).

    Returns
    -------
    float or None
        Over all good rows and classes; None without a head, or without a good row.

    Examples
    --------
    >>> arrays = {"features": np.zeros((2, 3)), "imagenet_probabilities": np.full((2, 2), 0.5)}
    >>> arrays |= {"status": np.zeros(2), "head_weight": np.ones((2, 3)), "head_bias": np.array([0.0, 0.0])}
    >>> softmax_deviation(arrays)
    0.0
    """
    if layout.HEAD_WEIGHT not in arrays:
        return None
    by_row = deviations(
        arrays[layout.FEATURES], arrays[layout.PROBABILITIES], arrays[layout.HEAD_WEIGHT], arrays[layout.HEAD_BIAS]
    )
    good = by_row[arrays[layout.STATUS] == 0]
    return float(good.max()) if len(good) else None


def deviations(features: np.ndarray, probabilities: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Return, for each row, the greatest difference between ``softmax(weight @ features + bias)`` and what is stored.

    Parameters
    ----------
    features : ndarray
        (n, d).
    probabilities : ndarray
        (n, m).
    weight, bias : ndarray
        (m, d) and (m,).

    Returns
    -------
    ndarray
        (n,) float32.
    """
    logits = features.astype(np.float32) @ weight.astype(np.float32).T + bias.astype(np.float32)
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    expected = exponentials / exponentials.sum(axis=1, keepdims=True)
    found: np.ndarray = np.abs(expected - probabilities.astype(np.float32)).max(axis=1)
    return found


def tolerance(made: Mapping[str, Any]) -> float:
    """Return what a store's rows may deviate: twice what its writer measured, within reason.

    Examples
    --------
    >>> tolerance({"softmax_deviation": 0.001}) < 0.0021, tolerance({"softmax_deviation": 0.9}) < 0.11, tolerance({})
    (True, True, 0.02)
    """
    stated = made.get("softmax_deviation")
    return min(2 * float(stated), _MOST) + _ROUNDING if isinstance(stated, int | float) else _UNKNOWN


def verify_all(
    stores: DatasetStores, *, read: bool = True, subset: Subset = ALL, semantic: bool = False
) -> Iterator[Report]:
    """Yield a report on every store of a data set: its files, and where asked for and they are whole, its rows.

    Parameters
    ----------
    stores : DatasetStores
        The data set.
    read, subset
        See `fusion_pipeline.store.care.verify.verify`.
    semantic : bool
        Whether to hold the rows against each other.
    """
    for report in verify_dataset(stores, read=read, subset=subset):
        if semantic and report.store is not None and not report.damage:
            yield replace(report, damage=list(_readable_semantic(report.store, subset)))
        else:
            yield report


def _readable_semantic(store: Store, subset: Subset) -> Iterator[Damage]:
    try:
        yield from verify_semantic(store, subset)
    except FusionError:  # of a file that a part of all files, or a quick look, did not reach
        found = list(verify(store))
        if not found:
            raise
        yield from found


def verify_semantic(store: Store, subset: Subset = ALL) -> Iterator[Damage]:
    """Yield the features of a store whose probabilities do not follow from them.

    Misaligned rows, wrong weights and a wrong layer show here, though every checksum is right.

    Parameters
    ----------
    store : Store
        A backbone's store; of one without a head, and of an index, nothing can be said.
    subset : Subset
        Only the partitions whose chunk of features is in this part of the files are looked at.

    Yields
    ------
    Damage
        One for each chunk with such rows, of kind ``"rows"``.

    Raises
    ------
    IntegrityError
        If files are damaged: `verify` tells which.
    """
    if not store.is_backbone or f"{layout.HEAD_WEIGHT}/zarr.json" not in store.manifest.files:
        return
    weight, bias = store.read(layout.HEAD_WEIGHT), store.read(layout.HEAD_BIAS)
    features, probabilities = store.array(layout.FEATURES), store.array(layout.PROBABILITIES)
    limit, rows = tolerance(store.manifest.made), store.manifest.partition_rows
    for partition, start in enumerate(range(0, store.rows, rows)):
        chunk = f"{layout.FEATURES}/c/{partition}/0"
        if not subset.has(chunk):
            continue
        part = slice(start, min(start + rows, store.rows))
        good = store.status[part] == 0
        by_row = deviations(np.asarray(features[part])[good], np.asarray(probabilities[part])[good], weight, bias)
        if not (by_row <= limit).all():
            yield Damage(chunk, ROWS)
