"""What an expert of an LE row sees: its blocks, their scaling, and why learned vectors need no network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion_pipeline.errors import UsageError
from fusion_pipeline.train.experts import Standardiser, fit_expert
from fusion_pipeline.train.labels.scaling import BlockScaling
from fusion_pipeline.train.labels.space import LabelSpace, label_space
from fusion_pipeline.train.labels.vectors import LabelVectors
from fusion_pipeline.train.labels.weighting import top_weights, weighted_vectors
from fusion_pipeline.train.solvers.softmax import fit_path
from tests.train.made import make_features, make_labels

VECTORS = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)


def make_imagenet(labels: np.ndarray, m: int = 12, seed: int = 0, dtype: str = "float16") -> np.ndarray:
    """Return softmax outputs over m classes that lean towards one of three for each label."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(len(labels), m))
    logits[np.arange(len(labels)), 3 * labels + generator.integers(0, 3, len(labels))] += 3
    return (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).astype(dtype)


def test_blocks_are_features_then_vectors_then_weights() -> None:
    labels = make_labels(4, 3)
    features, imagenet = make_features(labels, 5, 0), make_imagenet(labels)
    vectors, weights = weighted_vectors(imagenet, VECTORS, 3), top_weights(imagenet, 3).toarray()
    learned = LabelSpace("learned", 12, 3)
    glove, tuned = LabelSpace("glove", 12, 3, VECTORS), LabelSpace("glove", 12, 3, VECTORS, fine_tuned=True)
    np.testing.assert_array_equal(learned(features, imagenet), np.hstack([features, weights]))
    np.testing.assert_array_equal(glove(features, imagenet), np.hstack([features, vectors]))
    np.testing.assert_array_equal(tuned(features, imagenet), np.hstack([features, vectors, weights]))
    assert [space.blocks for space in (learned, glove, tuned)] == [(12,), (4,), (4, 12)]


@given(seed=st.integers(0, 1000), share=st.floats(1e-3, 1e3))
@settings(max_examples=30, deadline=None)
def test_label_blocks_have_their_share_of_the_features_variance(seed: int, share: float) -> None:
    generator = np.random.default_rng(seed)
    rows = generator.normal(size=(20, 9)) * generator.uniform(0.1, 10, size=9) + generator.normal(size=9)
    rows[:, 1] = 7.0
    scaled = BlockScaling((4, 3, 2), share)(rows)(rows)
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(scaled[:, [0, 2, 3]].var(axis=0), 1)
    for block in (slice(4, 7), slice(7, 9)):
        np.testing.assert_allclose(scaled[:, block].var(axis=0).sum(), share * 3)
        ratio = scaled[:, block].std(axis=0) / rows[:, block].std(axis=0)
        np.testing.assert_allclose(ratio, ratio[0], err_msg="one factor for the whole block")


def test_without_label_blocks_it_is_the_standardiser_and_constant_blocks_stay() -> None:
    rows = np.random.default_rng(0).normal(size=(8, 3))
    ours, plain = BlockScaling((3,), 1.0)(rows), Standardiser.fit(rows)
    np.testing.assert_array_equal(ours.scale, plain.scale)
    constant = np.hstack([rows, np.full((8, 2), 0.5)])
    np.testing.assert_array_equal(BlockScaling((3, 2), 1.0)(constant)(constant)[:, 3:], 0)
    with pytest.raises(ValueError, match="do not make 3"):
        BlockScaling((2, 2), 1.0)(rows)


def train_vectors(h: np.ndarray, q: np.ndarray, labels: np.ndarray, alpha: float, width: int) -> float:
    """Return the least objective that training V and everything else by torch leads to: Eq. 8 to the letter."""
    generator = torch.Generator().manual_seed(0)
    features, weights, targets = map(torch.from_numpy, (h, q, labels))
    n_classes = int(labels.max()) + 1

    def start(*shape: int) -> torch.Tensor:
        values = torch.randn(*shape, generator=generator, dtype=torch.float64)
        return (0.3 * values).requires_grad_()

    direct, mapped = start(h.shape[1], n_classes), start(width, n_classes)
    vectors, bias = start(q.shape[1], width), torch.zeros(n_classes, dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS(
        [direct, mapped, vectors, bias],
        max_iter=3000,
        tolerance_grad=1e-10,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def objective() -> torch.Tensor:
        search.zero_grad()
        logits = features @ direct + (weights @ vectors) @ mapped + bias
        size = direct.square().sum() + (vectors @ mapped).square().sum()
        loss = torch.nn.functional.cross_entropy(logits, targets, reduction="sum") + 0.5 * alpha * size
        loss.backward()
        return loss

    search.step(objective)
    return float(objective().detach())


@pytest.mark.parametrize("width", [3, 20])
def test_training_the_vectors_leads_to_the_regression_on_the_weights(width: int) -> None:
    labels = make_labels(10, 3)
    h = np.asarray(make_features(labels, 4, 0, 0.4), np.float64)
    q = top_weights(make_imagenet(labels), 5).toarray()
    (fit,) = fit_path(np.hstack([h, q]), labels, 3, [0.5])
    trained = train_vectors(h, q, labels, 0.5, width)
    assert trained == pytest.approx(fit.objective, rel=1e-5)
    (alone,) = fit_path(h, labels, 3, [0.5])
    assert alone.objective > 1.05 * fit.objective, "otherwise labels play no part"


def test_vectors_narrower_than_the_classes_reach_less() -> None:
    labels = make_labels(10, 3)
    q = top_weights(make_imagenet(labels), 5).toarray()
    h = np.asarray(make_features(labels, 4, 0, 0.1), np.float64)
    (fit,) = fit_path(np.hstack([h, q]), labels, 3, [0.05])
    assert train_vectors(h, q, labels, 0.05, 1) > 1.001 * fit.objective


@pytest.mark.parametrize("kind", ["learned", "glove"])
def test_an_expert_takes_the_maps_output_and_gains_by_it(kind: str) -> None:
    labels = make_labels(30, 3)
    features, imagenet = make_features(labels, 5, 0, 0.3), make_imagenet(labels)
    space = LabelSpace(kind, 12, 5, VECTORS if kind == "glove" else None)
    seen = space(features, imagenet)
    alone = fit_expert(features, labels, 3, seed=0)
    fit = fit_expert(seen, labels, 3, seed=0, scalings=space.scalings(5))
    assert fit.expert.weights.shape == (5 + space.width, 3)
    assert fit.out_of_fold_nll[fit.alpha] < alone.out_of_fold_nll[alone.alpha]
    losses = [
        min(fit_expert(seen, labels, 3, seed=0, scalings=[scaling]).out_of_fold_nll.values())
        for scaling in space.scalings(5)
    ]
    assert fit.scaling == space.scalings(5)[int(np.argmin(losses))]


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "word2vec", "n_classes": 12},
        {"kind": "learned", "n_classes": 12, "top": 13},
        {"kind": "learned", "n_classes": 12, "vectors": VECTORS},
        {"kind": "learned", "n_classes": 12, "fine_tuned": True},
        {"kind": "glove", "n_classes": 11, "vectors": VECTORS},
        {"kind": "glove", "n_classes": 12, "vectors": np.full((12, 2), np.nan)},
        {"kind": "glove", "n_classes": 12, "vectors": [["a"]] * 12},
        {"kind": "none", "n_classes": 12, "vectors": VECTORS},
        {"kind": "none", "n_classes": 12, "fine_tuned": True},
    ],
)
def test_options_that_do_not_belong_together_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        label_space(**options)  # type: ignore[arg-type]


def test_vectors_come_as_a_path_as_what_was_read_or_as_numbers(tmp_path: Path) -> None:
    (tmp_path / "tiny.txt").write_text("tench 1 2\nzebra 3 4\n")
    from_file = label_space("glove", 1000, vectors=tmp_path / "tiny.txt")
    assert from_file is not None
    assert from_file.vectors is not None
    assert from_file.vectors[[0, 1, 340]].tolist() == [[1, 2], [2, 3], [3, 4]]
    read = label_space("glove", 12, vectors=LabelVectors(VECTORS, (), (), "made", "sha256:00"))
    given_numbers = label_space("glove", 12, vectors=VECTORS.astype(np.float64))
    for space in (read, given_numbers):
        assert space is not None
        np.testing.assert_array_equal(space.vectors, VECTORS)


def test_probabilities_of_other_shapes_are_refused() -> None:
    space = LabelSpace("learned", 12)
    with pytest.raises(UsageError, match=r"not \(2, 12\)"):
        space(np.ones((2, 3)), np.ones((3, 12)))
    with pytest.raises(UsageError, match=r"not \(2, 12\)"):
        space(np.ones((2, 3)), np.ones((2, 11)))
