"""The p-values of a family of tests become p-values that hold for all of the family at once."""

from __future__ import annotations

from collections.abc import Sequence


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Return Holm's step-down adjustment of the p-values of one family of tests, in their order.

    Whoever calls significant what has an adjusted value of at most 0.05 errs in any of the family's true null
    hypotheses with a probability of at most 0.05, however the tests depend on each other (Holm, 1979).

    Parameters
    ----------
    p_values : sequence of float
        Each from 0 to 1; may be empty.

    Raises
    ------
    ValueError
        If one of them is no probability.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    (0.03, 0.06, 0.06)
    """
    if not all(0.0 <= p <= 1.0 for p in p_values):  # NaN is no probability either
        raise ValueError(f"p-values lie between 0 and 1, but got {list(p_values)}.")
    adjusted = [1.0] * len(p_values)
    reached = 0.0
    for rank, position in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        reached = max(reached, min(1.0, (len(p_values) - rank) * p_values[position]))
        adjusted[position] = reached
    return tuple(adjusted)
