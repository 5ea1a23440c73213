"""The networks of Eq. 5 and Eq. 6: their formulas by hand, their start as averaging, their training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion_pipeline.train.gates.cnn import ThumbnailNetwork
from fusion_pipeline.train.gates.embedding import EMBEDDING_SIZE, EmbeddingGate, EmbeddingNetwork
from fusion_pipeline.train.gates.training import AdamW, Learner, infer, seeded, single_thread
from tests.train.gates.made import telling_inputs


def test_equation_6_by_hand() -> None:
    network = EmbeddingNetwork([2, 3])
    network.initialise(seeded(0, 0))
    torch.nn.init.normal_(network.head.weight, generator=seeded(0, 1))
    generator = np.random.default_rng(0)
    features = [generator.normal(size=(4, size)).astype(np.float32) for size in (2, 3)]
    first, second = (layer.weight.detach().numpy() for layer in network.embeddings)
    embedded = (np.maximum(features[0] @ first.T, 0) + np.maximum(features[1] @ second.T, 0)) / 2
    logits = embedded @ network.head.weight.detach().numpy().T + network.head.bias.detach().numpy()
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert first.shape == (EMBEDDING_SIZE, 2)
    np.testing.assert_allclose(infer(network, tuple(map(torch.from_numpy, features))), expected, rtol=1e-4)


def test_equation_6_with_numbers_by_hand() -> None:
    network = EmbeddingNetwork([1, 1], width=1)
    with torch.no_grad():
        for layer, weight in zip(network.embeddings, (2.0, -1.0), strict=True):
            layer.weight.fill_(weight)
            layer.bias.zero_()
        network.head.weight.copy_(torch.tensor([[1.0], [0.0]]))
        network.head.bias.copy_(torch.tensor([0.0, 1.0]))
    # relu(2 * 3) = 6 and relu(-1 * 1) = 0 have the mean 3; the logits are 3 and 1, so the weights 1 / (1 + e^-2), ...
    found = infer(network, (torch.tensor([[3.0]]), torch.tensor([[1.0]])))
    np.testing.assert_allclose(found, [[0.880797, 0.119203]], atol=1e-6)


@given(seed=st.integers(0, 10_000), n_experts=st.integers(1, 5), scale=st.sampled_from([1e-3, 1.0, 1e4]))
@settings(max_examples=30, deadline=None)
def test_any_network_gives_weights_that_sum_to_one_and_follow_the_samples(
    seed: int, n_experts: int, scale: float
) -> None:
    generator = np.random.default_rng(seed)
    features = tuple(torch.from_numpy(scale * generator.normal(size=(4, 3))).float() for _ in range(n_experts))
    pictures = (torch.from_numpy(generator.integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)),)
    for network, inputs in ((EmbeddingNetwork([3] * n_experts), features), (ThumbnailNetwork(n_experts), pictures)):
        network.initialise(seeded(seed, 0))
        torch.nn.init.normal_(network.head.weight, std=scale, generator=seeded(seed, 1))
        weights, order = infer(network, inputs), generator.permutation(4)
        assert (weights >= 0).all()
        np.testing.assert_allclose(weights.sum(axis=1), 1.0, rtol=1e-12)
        np.testing.assert_allclose(infer(network, tuple(x[order] for x in inputs)), weights[order], atol=1e-5)


def test_equation_5_has_the_papers_filters_and_any_size_of_thumbnail() -> None:
    network = ThumbnailNetwork(3)
    shapes = [tuple(value.shape) for value in network.parameters()]
    assert shapes == [(32, 3, 3, 3), (32,), (64, 32, 3, 3), (64,), (3, 64), (3,)]
    for size in (8, 32, 64):
        assert infer(network, (torch.zeros((2, size, size, 3), dtype=torch.uint8),)).shape == (2, 3)


@pytest.mark.parametrize("network", [EmbeddingNetwork([4, 4, 4]), ThumbnailNetwork(3)], ids=["embedding", "cnn"])
def test_an_untrained_network_averages_exactly(network: EmbeddingNetwork | ThumbnailNetwork) -> None:
    network.initialise(seeded(0, 0))
    inputs = (torch.full((2, 8, 8, 3), 200, dtype=torch.uint8),)
    if isinstance(network, EmbeddingNetwork):
        inputs = tuple(torch.ones(2, 4) for _ in range(3))
    np.testing.assert_array_equal(infer(network, inputs), np.full((2, 3), 1 / 3))


def test_adamw_takes_the_published_steps() -> None:
    parameter = torch.nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))
    optimiser = AdamW([parameter], learning_rate=0.1, weight_decay=0.01)
    value, first, second = np.array([1.0, -2.0, 3.0]), np.zeros(3), np.zeros(3)
    for step in range(1, 6):
        gradient = np.sin(value * step)
        parameter.grad = torch.from_numpy(gradient.astype(np.float32))
        optimiser.step()
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        move = (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
        value = value - 0.1 * (move + 0.01 * value)
        np.testing.assert_allclose(parameter.detach().numpy(), value, rtol=1e-5)
    assert parameter.grad is None


def test_statistics_come_from_the_training_rows_alone() -> None:
    gate = EmbeddingGate("embedding")
    inputs = (torch.tensor([[0.0], [2.0], [100.0]]),)
    network = gate.build(inputs, np.array([0, 1]))
    assert (network.get_buffer("mean_0").item(), network.get_buffer("scale_0").item()) == (1.0, 1.0)


def test_held_out_weights_do_not_depend_on_their_own_rows() -> None:
    inputs, probabilities, labels = telling_inputs(30)
    held_out, others = np.arange(15), np.arange(15, 30)
    truth = np.take_along_axis(probabilities, labels[:, None, None], axis=2)[:, :, 0]
    changed = truth.copy()
    changed[held_out] = changed[held_out, ::-1]
    gate = EmbeddingGate("embedding")
    weights = []
    # Which epoch is the best one is chosen on all held-out rows together: here it is the first, whatever they say.
    for targets in (truth, changed):
        tensors = gate.tensors(inputs)
        network = gate.build(tensors, others)
        Learner(network, tensors, torch.from_numpy(targets).float(), others, gate.recipe, seeded(0, 1)).epoch()
        weights.append(infer(network, tensors))
    np.testing.assert_array_equal(weights[0][held_out], weights[1][held_out])
    assert np.abs(weights[0] - 0.5).max() > 1e-3, "otherwise nothing was learned"


def test_torchs_threads_are_given_back_even_after_an_error() -> None:
    before = torch.get_num_threads()
    within: list[int] = []

    def stop() -> None:
        with single_thread():
            within.append(torch.get_num_threads())
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        stop()
    assert (within, torch.get_num_threads()) == ([1], before)
