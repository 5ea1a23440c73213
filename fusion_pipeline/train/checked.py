"""What a caller gives becomes matrices, labels and settings that fit each other, or one line of what does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import column_or_1d

from fusion_pipeline.errors import UnusableDataError, UsageError, printable
from fusion_pipeline.train.experts import DEFAULT_ALPHAS, first_not_finite
from fusion_pipeline.train.gates.gate import Gate, GateInputs

Matrix = NDArray[np.floating]


def checked_seed(seed: Any) -> int:
    """Return a seed that is a whole number from 0 on; refuse others as a UsageError.

    Examples
    --------
    >>> checked_seed(np.int64(3))
    3
    """
    if not isinstance(seed, Integral) or seed < 0:
        raise UsageError(f"seed={seed!r} was given. A whole number from 0 on is needed, so that fits can be repeated.")
    return int(seed)


def checked_labels(y: ArrayLike) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the classes, sorted, and each row's position in them; refuse what is no label as a UsageError.

    Examples
    --------
    >>> checked_labels(["rose", "iris", "rose"])
    (array(['iris', 'rose'], dtype='<U4'), array([1, 0, 1]))
    """
    try:
        values = column_or_1d(y)
        classes, labels = np.unique(values, return_inverse=True)
    except (ValueError, TypeError) as error:
        raise UsageError(f"y is not one label for each row: {printable(str(error))}.") from None
    if values.dtype.kind in "fc" and not np.isfinite(values).all():
        raise UsageError("y has a label that is not a finite number. Drop its row, or give it a class.")
    return classes, labels


def checked_penalties(alphas: Sequence[float] | None) -> tuple[float, ...]:
    """Return the penalties to choose from, those by default for None; refuse what is not positive as a UsageError.

    Examples
    --------
    >>> checked_penalties([1, 10])
    (1.0, 10.0)
    """
    try:
        found = DEFAULT_ALPHAS if alphas is None else tuple(float(alpha) for alpha in alphas)
    except (TypeError, ValueError):
        found = ()
    if not found or not all(0 < alpha < float("inf") for alpha in found):
        raise UsageError(f"Penalties must be positive numbers, at least one, but alphas={alphas!r} was given.")
    return found


def checked_matrices(X: Mapping[str, ArrayLike]) -> dict[str, Matrix]:
    """Return features by backbone as floating matrices without NaN or infinity.

    Raises
    ------
    UsageError
        If `X` is no mapping, or has what is no matrix of real numbers.
    UnusableDataError
        If a value is not finite, naming backbone and row.
    """
    if not isinstance(X, Mapping) or not X:
        raise UsageError('Give features as a mapping with one matrix per backbone, as {"xception": features}.')
    matrices: dict[str, Matrix] = {}
    for name, values in X.items():
        matrix = _numbers(name, values)
        if matrix.ndim != 2 or 0 in matrix.shape:
            raise UsageError(f"Features of '{printable(name)}' have shape {matrix.shape}, not (rows, features).")
        matrices[name] = matrix
        row = first_not_finite(matrices[name])
        if row is not None:
            raise UnusableDataError(
                f"Features of '{printable(name)}' are not finite in row {row}. Mend or drop the row."
            )
    return matrices


def _numbers(name: str, values: ArrayLike) -> Matrix:
    matrix = np.asarray(values)
    if matrix.dtype.kind not in "fiub":
        raise UsageError(f"Features of '{printable(name)}' are of dtype {matrix.dtype}. Give real numbers.")
    return matrix if matrix.dtype.kind == "f" else matrix.astype(np.float64)


def same_rows(arrays: Mapping[str, NDArray[Any]]) -> int:
    """Return the number of rows that all arrays have; refuse different numbers as a UsageError.

    Examples
    --------
    >>> same_rows({"xception": np.zeros((3, 2)), "y": np.zeros(3)})
    3
    """
    counts = {name: len(array) for name, array in arrays.items()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{printable(name)} {count}" for name, count in counts.items())
        raise UsageError(f"All inputs need the same number of rows, but they have: {listed}.")
    return next(iter(counts.values()))


def checked_imagenet(matrices: Mapping[str, Matrix], imagenet: Mapping[str, ArrayLike] | None) -> dict[str, Matrix]:
    """Return the ImageNet probabilities of the backbones of `matrices`.

    Raises
    ------
    UsageError
        If there are none, or not for these backbones and rows.
    """
    if imagenet is None:
        raise UsageError("A label embedding needs ImageNet probabilities: give imagenet, one matrix per backbone.")
    found = checked_matrices(imagenet)
    check_names(set(found), tuple(matrices), "ImageNet probabilities")
    same_rows({**matrices, **{f"imagenet of {name}": matrix for name, matrix in found.items()}})
    return found


def check_names(found: set[str], expected: Sequence[str], what: str = "features") -> None:
    """Refuse names that are not exactly the expected ones, as a UsageError.

    Parameters
    ----------
    found : set of str
    expected : sequence of str
    what : str
        What has these names, in the plural.

    Examples
    --------
    >>> check_names({"xception"}, ["xception", "vgg16"])
    Traceback (most recent call last):
    fusion_pipeline.errors.UsageError: The features lack 'vgg16'; the model needs exactly: xception, vgg16.
    """
    missing = [name for name in expected if name not in found]
    extra = sorted(found.difference(expected))
    if missing or extra:
        wrong = [f"lack '{printable(name)}'" for name in missing] + [
            f"have '{printable(name)}' too many" for name in extra
        ]
        raise UsageError(f"The {what} {' and '.join(wrong)}; the model needs exactly: {', '.join(expected)}.")


def gate_inputs(gate: Gate, n: int, matrices: Mapping[str, Matrix], thumbnails: ArrayLike | None) -> GateInputs:
    """Return what `gate` looks at, and no more.

    Parameters
    ----------
    gate : Gate
    n : int
        Number of images.
    matrices : mapping of str to ndarray (n, n_features)
        By backbone, in the order of the experts.
    thumbnails : array (n, size, size, 3), uint8, or None

    Raises
    ------
    UsageError
        If the gate needs thumbnails, and these are not of their shape and type.
    """
    features = tuple(matrices.values()) if gate.looks_at_features else ()
    if gate.thumbnail_size is None:
        return GateInputs(n, features)
    shape = (n, gate.thumbnail_size, gate.thumbnail_size, 3)
    pictures = None if thumbnails is None else np.asarray(thumbnails)
    if pictures is None or pictures.shape != shape or pictures.dtype != np.uint8:
        found = "none were given" if pictures is None else f"got {pictures.shape} {pictures.dtype}"
        raise UsageError(f"Gate '{gate.name}' needs thumbnails of shape {shape} and dtype uint8, but {found}.")
    return GateInputs(n, features, pictures)
