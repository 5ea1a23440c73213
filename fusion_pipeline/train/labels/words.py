"""Words become the vectors that a source has for them: what any reader of word vectors finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class WordVectors:
    """The vectors of some words.

    Attributes
    ----------
    by_word : mapping of str to ndarray (dimension,), float32
        The wanted words that the source has.
    dimension : int
    source : str
        Name of the file or the package.
    sha256 : str
        Of the file that holds the numbers, with ``sha256:`` before it.

    Examples
    --------
    >>> vectors = WordVectors({"cat": np.ones(2, np.float32)}, 2, "tiny.txt", "sha256:00")
    >>> "cat" in vectors.by_word, vectors.dimension
    (True, 2)
    """

    by_word: Mapping[str, NDArray[np.float32]]
    dimension: int
    source: str
    sha256: str
