"""The methods from the best single backbone to the fullest fusion become steps, each with what it won and lost.

A fused row is above a single backbone for several reasons at once. Taken apart, the steps are: averaging at all,
calibrating what is averaged, weighting it by constants, a second classifier (stacking), adapting to the image, and the
label-space embedding.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusion_pipeline.train.statistics.comparisons import best_single
from fusion_pipeline.train.statistics.holm import holm
from fusion_pipeline.train.statistics.repeats import Outcomes, compare_repeats

IntArray = NDArray[np.int64]

CHAIN = ("average", "calibrated-average", "constant", "stacking")
"""The methods between a single backbone and a gate that adapts, in the order of the steps."""

BY_TEST = "test rows"
BY_OUT_OF_FOLD = "out-of-fold predictions of training rows"

CHOSEN_SINGLE = "chosen single"
"""Name of the backbone that each training part would have chosen by itself, one for each."""


@dataclass(frozen=True)
class GainStep:
    """What one method gains over the one before it.

    Attributes
    ----------
    first, second : str
        The method before the step and the one after it.
    first_chosen_by : str
        How the single backbone was chosen; empty for other steps. The best by test rows is flattered: nobody could have
        known it. The one that out-of-fold predictions choose is what a user would have got.
    first_accuracy, second_accuracy : float
    wins, losses : int
        Images that the step won and lost, over all repeats.
    p : float
        Two-sided, by the exact sign-flip test.
    p_holm : float
        The same, adjusted for all steps together.
    """

    first: str
    second: str
    first_chosen_by: str
    first_accuracy: float
    second_accuracy: float
    wins: int
    losses: int
    p: float
    p_holm: float


def take_apart(
    outcomes: Mapping[str, Outcomes],
    backbones: Sequence[str],
    *,
    chosen_single: Outcomes | None = None,
    adaptive: str | None = None,
    label_embedding: str | None = None,
    groups: IntArray | None = None,
) -> tuple[GainStep, ...]:
    """Return the steps from a single backbone to the fullest method.

    Parameters
    ----------
    outcomes : mapping of str to Outcomes
        By method, all of the same repeats; methods of `CHAIN` that are missing are passed over.
    backbones : sequence of str
        The first step starts from the best of these by test rows.
    chosen_single : Outcomes, optional
        Of what `choose_singles` and `put_together` give: a first step starts from it too.
    adaptive, label_embedding : str, optional
        The method that adapts to the image, and the same with a label-space embedding. Which of several is for the
        caller to say, and not by test rows.
    groups : ndarray (n,), int64, optional
        Near-duplicates, counted together.

    Raises
    ------
    ValueError
        If `outcomes` has none of the methods beyond the backbones.

    Examples
    --------
    >>> right = {"vgg16": [1, 0, 0, 0], "xception": [1, 1, 0, 0], "average": [1, 1, 1, 0], "constant": [1, 1, 1, 1]}
    >>> steps = take_apart({name: Outcomes.of(rows) for name, rows in right.items()}, ["vgg16", "xception"])
    >>> [(step.first, step.second, step.wins, step.losses) for step in steps]
    [('xception', 'average', 1, 0), ('average', 'constant', 1, 0)]
    """
    chain = [name for name in (*CHAIN, adaptive, label_embedding) if name is not None and name in outcomes]
    if not chain:
        raise ValueError(f"There is no method beyond the backbones in {sorted(outcomes)}.")
    best = best_single(backbones, {name: outcomes[name].correct for name in backbones})
    known = dict(outcomes)
    pairs = [(best, chain[0], BY_TEST)]
    if chosen_single is not None:
        known[CHOSEN_SINGLE] = chosen_single
        pairs.append((CHOSEN_SINGLE, chain[0], BY_OUT_OF_FOLD))
    pairs += [(first, second, "") for first, second in itertools.pairwise(chain)]
    found = [compare_repeats(first, known[first], second, known[second], groups) for first, second, _ in pairs]
    adjusted = holm([comparison.p for comparison in found])
    return tuple(
        GainStep(
            first,
            second,
            chosen_by,
            known[first].accuracy,
            known[second].accuracy,
            comparison.losses,  # what the first lost against the second is what the step won
            comparison.wins,
            comparison.p,
            p_holm,
        )
        for (first, second, chosen_by), comparison, p_holm in zip(pairs, found, adjusted, strict=True)
    )


def choose_singles(evidence: Mapping[str, Sequence[float]]) -> tuple[str, ...]:
    """Return for each training part the backbone that its own out-of-fold predictions speak for.

    Parameters
    ----------
    evidence : mapping of str to sequence of float
        By backbone: its out-of-fold accuracy in each training part. The first of equals is chosen.

    Examples
    --------
    >>> choose_singles({"vgg16": [0.91, 0.95], "xception": [0.93, 0.95]})
    ('xception', 'vgg16')
    """
    parts = {len(values) for values in evidence.values()}
    if len(parts) != 1:
        raise ValueError(f"Every backbone needs evidence from the same training parts, but they have {sorted(parts)}.")
    return tuple(max(evidence, key=lambda name: evidence[name][part]) for part in range(parts.pop()))


def put_together(chosen: Sequence[str], tests: Sequence[IntArray], rows: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """Return what the chosen backbones predicted, each in the test part of the training part that chose it.

    Parameters
    ----------
    chosen : sequence of str
        A backbone for each part, as `choose_singles` returns them.
    tests : sequence of ndarray, int64
        The rows of each test part; disjoint.
    rows : mapping of str to ndarray (n, ...)
        By backbone: one value or one row of probabilities for each image.

    Returns
    -------
    ndarray (n, ...)
        Zero, or False, where no part tests.

    Examples
    --------
    >>> rows = {"a": np.array([1, 2, 3, 4]), "b": np.array([10, 20, 30, 40])}
    >>> put_together(["a", "b"], [np.array([0, 3]), np.array([1, 2])], rows).tolist()
    [1, 20, 30, 4]
    """
    whole = np.zeros_like(rows[chosen[0]])
    for name, test in zip(chosen, tests, strict=True):
        whole[test] = rows[name][test]
    return whole
