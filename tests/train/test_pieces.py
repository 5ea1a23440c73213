"""Pieces: what was kept is found again, and what was damaged is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fusion_pipeline.train.pieces import Piece, Pieces

KEY = "sha256:" + "ab" * 32
PIECE = Piece({"a": np.arange(6.0).reshape(2, 3), "none": np.empty((0, 4))}, {"seconds": 0.5, "names": ["ü", "b"]})


@pytest.fixture
def pieces(tmp_path: Path) -> Pieces:
    return Pieces(tmp_path / "run" / "pieces")


def test_what_is_kept_is_found_again(pieces: Pieces) -> None:
    assert pieces.find(KEY) is None
    pieces.keep(KEY, PIECE)
    found = pieces.find(KEY)
    assert found is not None
    assert found.facts == PIECE.facts
    assert found.arrays.keys() == PIECE.arrays.keys()
    for name, array in PIECE.arrays.items():
        assert np.array_equal(found.arrays[name], array)
        assert found.arrays[name].dtype == array.dtype


@pytest.mark.parametrize("where", [0, 40, 100, -1])
def test_one_flipped_bit_makes_it_unknown(pieces: Pieces, tmp_path: Path, where: int) -> None:
    pieces.keep(KEY, PIECE)
    (file,) = (tmp_path / "run" / "pieces").iterdir()
    content = bytearray(file.read_bytes())
    content[where] ^= 4
    file.write_bytes(content)
    assert pieces.find(KEY) is None


@pytest.mark.parametrize("length", [0, 10, 32, 60])
def test_a_torn_file_is_unknown(pieces: Pieces, tmp_path: Path, length: int) -> None:
    pieces.keep(KEY, PIECE)
    (file,) = (tmp_path / "run" / "pieces").iterdir()
    file.write_bytes(file.read_bytes()[:length])
    assert pieces.find(KEY) is None
    pieces.keep(KEY, PIECE)
    assert pieces.find(KEY) is not None
