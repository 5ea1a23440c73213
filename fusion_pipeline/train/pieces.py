"""What a task found becomes a file under the digest of the task, and the file what the task found again.

A task is a pure function of the stores that it names, so that what lies under its digest is what it would find. A file
is written whole; one that is damaged, or that this program cannot read, is as good as none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from fusion_pipeline.store.identity import canonical_json
from fusion_pipeline.store.storage.local import LocalBackend

_SUFFIX = ".piece"
_DIGEST_BYTES = hashlib.sha256().digest_size
FACTS = "facts"


@dataclass(frozen=True)
class Piece:
    """What one task found, in a form that can be kept.

    Attributes
    ----------
    arrays : mapping of str to ndarray
    facts : mapping of str to JSON value
    """

    arrays: Mapping[str, NDArray[Any]]
    facts: Mapping[str, Any]


class Pieces:
    """A folder of pieces, each under the digest of its task.

    Parameters
    ----------
    folder : path
        Made with the first piece.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     pieces = Pieces(Path(folder))
    ...     pieces.keep("sha256:12ab", Piece({"weights": np.ones(2)}, {"seconds": 1.5}))
    ...     pieces.find("sha256:12ab").facts, pieces.find("sha256:34cd")
    ({'seconds': 1.5}, None)
    """

    def __init__(self, folder: Path) -> None:
        self._backend = LocalBackend(folder)

    def keep(self, key: str, piece: Piece) -> None:
        """Write a piece: all of it, or nothing.

        Raises
        ------
        StorageError
            If that cannot be done.
        """
        tensors = {name: np.ascontiguousarray(array) for name, array in piece.arrays.items()}
        content = save_tensors(tensors, metadata={FACTS: canonical_json(dict(piece.facts)).decode()})
        self._backend.write(_file(key), hashlib.sha256(content).digest() + content)

    def find(self, key: str) -> Piece | None:
        """Return the piece of a task; None if there is none that can be trusted."""
        content = self._backend.read(_file(key))
        if content is None or hashlib.sha256(content[_DIGEST_BYTES:]).digest() != content[:_DIGEST_BYTES]:
            return None
        try:
            return Piece(load_tensors(content[_DIGEST_BYTES:]), tensor_facts(content[_DIGEST_BYTES:]))
        except (SafetensorError, ValueError, KeyError, TypeError, RecursionError):
            return None


def _file(key: str) -> str:
    return f"{key.rpartition(':')[2]}{_SUFFIX}"


def tensor_facts(content: bytes) -> dict[str, Any]:
    """Return the JSON object that the metadata of a safetensors file has under ``facts``.

    Parameters
    ----------
    content : bytes
        The file: 8 bytes with the length of its header, the header, the tensors.

    Raises
    ------
    ValueError, KeyError, TypeError, RecursionError
        If there is none.
    """
    length = int.from_bytes(content[:8], "little")
    facts = json.loads(json.loads(content[8 : 8 + length])["__metadata__"][FACTS])
    if not isinstance(facts, dict):
        raise TypeError("facts are an object")
    return facts
