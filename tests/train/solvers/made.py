"""Made-up blocks of features, and ways to split their rows, for the tests of solvers."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from fusion_pipeline.train.solvers.parts import GramPart, PlainPart
from fusion_pipeline.train.solvers.rows import hold
from tests.train.made import make_features, make_labels

BLOCKS = {"wide": (40, 70), "tall": (9, 6)}
N, CLASSES = 48, 3


def make_blocks(shape: str) -> tuple[list[np.ndarray], np.ndarray]:
    """Return two blocks, far from zero and of unlike scales, of 48 rows; "wide" has more columns than that."""
    labels = make_labels(N // CLASSES, CLASSES)
    first, second = (make_features(labels, width, seed, 0.4, "float64") for seed, width in enumerate(BLOCKS[shape]))
    return [(first + 3.0).astype("float16"), (20.0 * second - 5.0).astype("float32")], labels


def make_part(shape: str, *, constant: float = 0.0) -> tuple[GramPart | PlainPart, np.ndarray, np.ndarray, np.ndarray]:
    """Return a block-normalised part of every other row, its labels, and its rows and held-out rows as matrices."""
    blocks, labels = make_blocks(shape)
    train, test = np.arange(0, N, 2), np.arange(1, N, 2)
    rows = hold(blocks)
    scales = rows.block_scales(train)
    part = rows.part(train, test, scales=scales, constant=constant)
    assert isinstance(part, GramPart if shape == "wide" else PlainPart)
    matrix = concatenated(blocks, train, centred=True, scales=scales, constant=constant)
    return part, labels[train], matrix[train], matrix[test]


def concatenated(
    blocks: list[np.ndarray], train: np.ndarray, *, centred: bool, scales: tuple[float, ...], constant: float
) -> np.ndarray:
    """Return what a part stands for, written out: all rows, (n, n_features) float64."""
    exact = [block.astype(np.float64) for block in blocks]
    means = [block[train].mean(axis=0) if centred else 0.0 for block in exact]
    scaled = [scale * (block - mean) for block, mean, scale in zip(exact, means, scales, strict=True)]
    return np.hstack([*scaled, np.full((len(exact[0]), int(constant != 0)), constant)])


@st.composite
def splits(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Draw training and held-out rows, in any order, that share none."""
    order = draw(st.permutations(range(N)))
    train = draw(st.integers(2, N))
    held_out = draw(st.integers(0, N - train))
    return np.array(order[:train]), np.array(order[train : train + held_out], dtype=np.int64)
