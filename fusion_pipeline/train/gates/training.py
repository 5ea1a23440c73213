"""A network, what it looks at and the experts' out-of-fold predictions become the weights of a gate.

The loss is that of Eq. 3 with frozen experts, and a pull towards averaging::

    mean_i -log sum_k a_k(x_i) p_k(y_i | x_i)  +  beta * KL(a(x_i) || 1 / K)

How many epochs to learn is itself learned: the networks of all folds take each epoch together, and stop when the rows
that they do not learn from gain no more. A network starts as exact averaging, so "no epoch at all" is a choice too.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fusion_pipeline.train.folds import Fold
from fusion_pipeline.train.gates.gate import Arrays, FloatArray, GateInputs, IntArray
from fusion_pipeline.train.gates.guard import GuardedGate
from fusion_pipeline.train.mixture import mixture_nll, uniform_weights
from fusion_pipeline.train.solvers.softmax import softmax

# Rows of one forward pass without gradients: bounds the memory of a CNN's activations. Last bits of a row may depend on
# which others share its pass.
_INFERENCE_ROWS = 256

# AdamW's decay of the two moments, and what keeps its divisor from zero.
_BETAS = (0.9, 0.999)
_EPSILON = 1e-8


@dataclass(frozen=True)
class Recipe:
    """How a gate network is trained.

    Attributes
    ----------
    epochs : int
        The most that are tried.
    patience : int
        Epochs without a gain on held-out rows after which trying ends.
    batch_size : int
    learning_rate, weight_decay : float
        Of AdamW.
    uniform_penalty : float
        beta of the loss.
    """

    epochs: int
    patience: int
    batch_size: int
    learning_rate: float
    weight_decay: float = 0.01
    uniform_penalty: float = 0.05


class GateNetwork(nn.Module):
    """A module from what a gate looks at to one logit per expert; its buffers hold the training rows' statistics.

    A subclass gives `head` last, an ``nn.Linear`` with one output per expert.
    """

    head: nn.Linear

    def initialise(self, generator: torch.Generator) -> None:
        """Draw the hidden weights (He et al., 2015), and set the head to zero: the gate starts as exact averaging."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.zeros_(self.head.weight)


Inputs = tuple[Tensor, ...]


@contextmanager
def single_thread() -> Iterator[None]:
    """Run torch on one thread: the same sums in the same order, so the same bytes, wherever the task runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class AdamW:
    """AdamW (Loshchilov and Hutter, 2019), written out: loading torch's own takes longer than training a gate.

    Parameters
    ----------
    parameters : list of nn.Parameter
    learning_rate, weight_decay : float
        The other settings are torch's defaults; a test compares the steps.
    """

    def __init__(self, parameters: list[nn.Parameter], learning_rate: float, weight_decay: float) -> None:
        self.moments = [(value, torch.zeros_like(value), torch.zeros_like(value)) for value in parameters]
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.steps = 0

    @torch.no_grad()
    def step(self) -> None:
        """Move the parameters against their gradients, and forget the gradients."""
        self.steps += 1
        for parameter, first, second in self.moments:
            gradient = parameter.grad
            if gradient is None:
                continue
            parameter.mul_(1.0 - self.learning_rate * self.weight_decay)
            first.lerp_(gradient, 1.0 - _BETAS[0])
            second.mul_(_BETAS[1]).addcmul_(gradient, gradient, value=1.0 - _BETAS[1])
            size = (second / (1.0 - _BETAS[1] ** self.steps)).sqrt_().add_(_EPSILON)
            parameter.addcdiv_(first, size, value=-self.learning_rate / (1.0 - _BETAS[0] ** self.steps))
            parameter.grad = None


class Learner:
    """One network that learns from some rows, epoch by epoch.

    Parameters
    ----------
    network : GateNetwork
    inputs : tuple of Tensor
        Of all rows, as the network's `forward` takes them.
    truth : Tensor (n, K), float32
        The experts' out-of-fold probabilities of the true classes.
    rows : ndarray (m,), int64
        Which rows to learn from.
    recipe : Recipe
    generator : torch.Generator
        Decides the start and the order of the rows.
    """

    def __init__(
        self,
        network: GateNetwork,
        inputs: Inputs,
        truth: Tensor,
        rows: IntArray,
        recipe: Recipe,
        generator: torch.Generator,
    ) -> None:
        network.initialise(generator)
        self.network = network
        self.inputs = inputs
        self.truth = truth
        self.rows = torch.from_numpy(rows)
        self.recipe = recipe
        self.generator = generator
        self.optimiser = AdamW(list(network.parameters()), recipe.learning_rate, recipe.weight_decay)

    def epoch(self) -> None:
        """Learn from every row once."""
        order = self.rows[torch.randperm(len(self.rows), generator=self.generator)]
        for batch in torch.split(order, self.recipe.batch_size):
            self._loss(batch).backward()  # type: ignore[no-untyped-call]  # torch annotates it only in part
            self.optimiser.step()

    def _loss(self, batch: Tensor) -> Tensor:
        log_weights = self.network(*(values[batch] for values in self.inputs)).log_softmax(dim=1)
        likelihood = (log_weights + self.truth[batch].log()).logsumexp(dim=1)
        divergence = (log_weights.exp() * log_weights).sum(dim=1) + np.log(log_weights.shape[1])
        loss: Tensor = (self.recipe.uniform_penalty * divergence - likelihood).mean()
        return loss


def infer(network: GateNetwork, inputs: Inputs) -> FloatArray:
    """Return the gate weights (n, K), float64, that `network` gives to `inputs`."""
    with torch.no_grad():
        batches = zip(*(torch.split(values, _INFERENCE_ROWS) for values in inputs), strict=True)
        logits = torch.cat([network(*batch) for batch in batches])
    return softmax(logits.double().numpy())


def seeded(seed: int, stream: int) -> torch.Generator:
    """Return a generator for one of the independent streams of `seed`."""
    state = np.random.SeedSequence([seed, stream]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))


class NetworkGate(GuardedGate):
    """A gate that is a torch network; between calls it is kept as plain arrays, so it can be pickled and stored.

    Attributes
    ----------
    recipe : Recipe
        How it is trained.
    epochs : int
        How many epochs held-out rows asked for.
    """

    recipe: ClassVar[Recipe]

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.epochs = 0
        self._arrays: Arrays = {}

    @abstractmethod
    def tensors(self, inputs: GateInputs) -> Inputs:
        """Return what the network takes, before any statistics of the training rows are applied."""

    @abstractmethod
    def build(self, inputs: Inputs, rows: IntArray) -> GateNetwork:
        """Return an untrained network whose statistics are those of `rows` of `inputs`."""

    @abstractmethod
    def shell(self, arrays: Arrays) -> GateNetwork:
        """Return a network of the shape of `arrays`, to load them into."""

    def cross_fit(self, inputs: GateInputs, truth: FloatArray, folds: Sequence[Fold], seed: int) -> FloatArray:
        """Choose the number of epochs, and return the weights of held-out rows after so many; see `GuardedGate`."""
        with single_thread():
            tensors, targets = self.tensors(inputs), _targets(truth)
            learners = [
                Learner(self.build(tensors, train), tensors, targets, train, self.recipe, seeded(seed, 1 + fold))
                for fold, (train, _) in enumerate(folds)
            ]
            held_out = [test for _, test in folds]
            self.epochs, weights = _choose_epochs(learners, held_out, truth, self.recipe)
        return weights

    def learn(self, inputs: GateInputs, truth: FloatArray, seed: int) -> None:
        """Train on all rows for the chosen number of epochs."""
        rows = np.arange(inputs.rows)
        with single_thread():
            tensors = self.tensors(inputs)
            network = self.build(tensors, rows)
            learner = Learner(network, tensors, _targets(truth), rows, self.recipe, seeded(seed, 0))
            for _ in range(self.epochs):
                learner.epoch()
        self._arrays = {name: value.numpy().copy() for name, value in network.state_dict().items()}

    def learned_weights(self, inputs: GateInputs) -> FloatArray:
        """Return the network's gate weights, (n, K) float64."""
        network = self.shell(self._arrays)
        network.load_state_dict({name: torch.from_numpy(value) for name, value in self._arrays.items()})
        with single_thread():
            return infer(network, self.tensors(inputs))

    def learned_arrays(self) -> Arrays:
        """Return the network's parameters and statistics."""
        return dict(self._arrays)

    def take_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over parameters and statistics."""
        self._arrays = {name: np.array(value, dtype=np.float32) for name, value in arrays.items()}


def _targets(truth: FloatArray) -> Tensor:
    return torch.from_numpy(truth.astype(np.float32))


def _choose_epochs(
    learners: Sequence[Learner], held_out: Sequence[IntArray], truth: FloatArray, recipe: Recipe
) -> tuple[int, FloatArray]:
    """Return the number of epochs with the least held-out loss, and the held-out rows' gate weights after it."""
    best, best_weights = 0, uniform_weights(*truth.shape)
    least = float(mixture_nll(best_weights, truth).mean())
    for epoch in range(1, recipe.epochs + 1):
        weights = _epoch_of_all(learners, held_out, truth.shape)
        loss = float(mixture_nll(weights, truth).mean())
        if loss < least:
            best, best_weights, least = epoch, weights, loss
        if epoch - best >= recipe.patience:
            break
    return best, best_weights


def _epoch_of_all(learners: Sequence[Learner], held_out: Sequence[IntArray], shape: tuple[int, ...]) -> FloatArray:
    weights = np.empty(shape)
    for learner, rows in zip(learners, held_out, strict=True):
        learner.epoch()
        weights[rows] = infer(learner.network, tuple(values[torch.from_numpy(rows)] for values in learner.inputs))
    return weights
