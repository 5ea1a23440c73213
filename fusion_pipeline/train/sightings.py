"""What a task fitted becomes entries of the ledger: which rows each parameter saw, and which it predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fusion_pipeline.train.folds import Fold
from fusion_pipeline.train.gates.gate import Gate
from fusion_pipeline.train.ledger import Entry
from fusion_pipeline.train.row_sets import RowSet

IntArray = NDArray[np.int64]


def features_source(backbone: str) -> str:
    """Return what entries call the features of a backbone."""
    return f"features {backbone}"


def expert_entries(
    name: str,
    inputs: Sequence[str],
    train: IntArray,
    test: IntArray,
    inner: Sequence[Fold],
    n: int,
) -> tuple[Entry, ...]:
    """Return the entries of an expert: its regressions without inner folds, the penalty that these chose, and itself.

    Parameters
    ----------
    name : str
        Of the task.
    inputs : sequence of str
        Names of its sources.
    train, test : ndarray of int64
        Rows.
    inner : sequence of Fold
        Of the training rows.
    n : int
        Number of all usable rows.
    """
    sources = tuple(inputs)
    apart = [
        Entry(
            f"{name}, without inner fold {number + 1}",
            "expert",
            RowSet.of(train[kept], n),
            RowSet.of(train[held_out], n),
            inputs=sources,
        )
        for number, (kept, held_out) in enumerate(inner)
    ]
    nothing, seen = RowSet.of([], n), RowSet.of(train, n)
    penalty = Entry(f"penalty of {name}", "penalty", seen, nothing, learned_from=tuple(entry.name for entry in apart))
    return (*apart, penalty, Entry(name, "expert", seen, RowSet.of(test, n), True, sources, (penalty.name,)))


def gate_entry_of(
    name: str,
    gate: Gate,
    experts: Sequence[Sequence[Entry]],
    train: IntArray,
    test: IntArray,
    n: int,
    leaks: str = "",
) -> Entry:
    """Return the entry of a gate, which learned from what its experts predicted.

    Parameters
    ----------
    name : str
        Of the task.
    gate : Gate
    experts : sequence of sequence of Entry
        What `expert_entries` returned for each of its experts.
    train, test : ndarray of int64
        Rows.
    n : int
        Number of all usable rows.
    leaks : str
        Why a gate that was asked for by name leaks on purpose.
    """
    whole = [entries[-1].name for entries in experts]
    apart = [entry.name for entries in experts for entry in entries[:-2]]
    return Entry(
        name,
        "gate",
        RowSet.of(train, n),
        RowSet.of(test, n),
        scored=True,
        made_with=tuple(whole),
        learned_from=tuple(whole if gate.in_sample else apart),
        leaks=leaks,
    )


def with_leak(entries: Sequence[Entry], name: str, why: str, rows: IntArray, n: int) -> tuple[Entry, ...]:
    """Return entries as they are if something was applied to their inputs that was fitted on test rows too.

    Parameters
    ----------
    entries : sequence of Entry
    name : str
        Of what was applied.
    why : str
        What the table says of it.
    rows : ndarray of int64
        That it was fitted on.
    n : int
        Number of all usable rows.
    """
    inputs = tuple(dict.fromkeys(source for entry in entries for source in entry.inputs))
    applied = Entry(name, "components", RowSet.of(rows, n), RowSet.of([], n), inputs=inputs)
    leaking = [replace(entry, made_with=(*entry.made_with, name), leaks=why) for entry in entries]
    return (applied, *leaking)
