"""Class names and word vectors become the matrix V of Section 3.4.1: one vector per ImageNet class."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fusion_pipeline.errors import UnusableDataError
from fusion_pipeline.train.labels.bundled import read_bundled
from fusion_pipeline.train.labels.glove import read_glove
from fusion_pipeline.train.labels.names import imagenet_classes
from fusion_pipeline.train.labels.tokens import found_words, wanted_words
from fusion_pipeline.train.labels.words import WordVectors

_SHOWN = 10


@dataclass(frozen=True)
class LabelVectors:
    """One vector per class, and which classes have none of their own.

    Attributes
    ----------
    matrix : ndarray (n_classes, dimension), float32
        V. A class without a vector has the mean of the others, which speaks for no class.
    missing : tuple of str
        Names of which no word has a vector.
    partial : tuple of str
        Names of which some words have none.
    source, sha256 : str
        Where the word vectors come from.
    """

    matrix: NDArray[np.float32]
    missing: tuple[str, ...]
    partial: tuple[str, ...]
    source: str
    sha256: str

    @classmethod
    def of(cls, names: Sequence[str], words: WordVectors) -> LabelVectors:
        """Return the vectors of class names: that of the whole name if there is one, else the mean of its words.

        Raises
        ------
        UnusableDataError
            If no name has a vector.

        Examples
        --------
        >>> words = WordVectors({"tiger": np.float32([0, 2]), "cat": np.float32([2, 2])}, 2, "tiny.txt", "sha256:00")
        >>> vectors = LabelVectors.of(["tiger cat", "cat", "tench"], words)
        >>> vectors.matrix.tolist(), vectors.missing
        ([[1.0, 2.0], [2.0, 2.0], [1.5, 2.0]], ('tench',))
        >>> print(vectors.summary)
        2 of 3 class names have a vector (tiny.txt, 2 dimensions); without: tench
        """
        found = [found_words(name, words.by_word.__contains__) for name in names]
        has = np.array([bool(known) for known, _ in found])
        if not has.any():
            raise UnusableDataError(f"'{words.source}' has no word of any class name. Give vectors of English words.")
        matrix = np.zeros((len(names), words.dimension))
        for row, (known, _) in enumerate(found):
            if known:
                matrix[row] = np.mean([words.by_word[word] for word in known], axis=0, dtype=np.float64)
        matrix[~has] = matrix[has].mean(axis=0)
        missing = tuple(name for name, known in zip(names, has, strict=True) if not known)
        partial = tuple(name for name, (known, lacking) in zip(names, found, strict=True) if known and lacking)
        return cls(matrix.astype(np.float32), missing, partial, words.source, words.sha256)

    @property
    def summary(self) -> str:
        """One line: how many names have a vector, from where, and the first that have none."""
        have, dimension = len(self.matrix) - len(self.missing), self.matrix.shape[1]
        line = f"{have:,} of {len(self.matrix):,} class names have a vector ({self.source}, {dimension} dimensions)"
        if not self.missing:
            return line
        more = f" and {len(self.missing) - _SHOWN} more" if len(self.missing) > _SHOWN else ""
        return f"{line}; without: {', '.join(self.missing[:_SHOWN])}{more}"


def read_label_vectors(path: str | os.PathLike[str] | None = None) -> LabelVectors:
    """Return the vectors of the 1000 ImageNet classes.

    Parameters
    ----------
    path : path, optional
        A GloVe text file; by default the package of the extra ``words``.

    Raises
    ------
    IncompleteError, FormatError, StorageError
        As of `read_glove` and `read_bundled`.
    UnusableDataError
        If no class name has a vector.

    Examples
    --------
    >>> read_label_vectors("glove.6B.300d.txt").matrix.shape  # doctest: +SKIP
    (1000, 300)
    """
    names = imagenet_classes()
    wanted = _wanted(names)
    return LabelVectors.of(names, read_bundled(wanted) if path is None else read_glove(path, wanted))


def _wanted(names: Collection[str]) -> frozenset[str]:
    return frozenset().union(*(wanted_words(name) for name in names))
