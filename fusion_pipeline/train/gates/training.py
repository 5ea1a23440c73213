"""A network, what it looks at and the experts' out-of-fold predictions become the weights of a gate.

The loss is that of Eq. 3 with frozen experts, and a pull towards averaging::

    mean_i -log sum_k a_k(x_i) p_k(y_i | x_i)  +  beta * KL(a(x_i) || 1 / K)

How many epochs to learn is itself learned: the networks of all folds take each epoch together, and stop when the rows
that they do not learn from gain no more. A network starts as exact averaging, so "no epoch at all" is a choice too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from fusion_pipeline.train.folds import Fold
from fusion_pipeline.train.gates.gate import Arrays, FloatArray, IntArray
from fusion_pipeline.train.mixture import mixture_nll, uniform_weights
from fusion_pipeline.train.solvers.softmax import softmax

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

    A subclass gives `head` last, an ``nn.Linear`` with one output per expert; or something without weights.

    Attributes
    ----------
    rows_at_once : int
        Of one pass, with gradients or without. Last bits of a row may depend on which others share its pass.
    """

    rows_at_once: ClassVar[int] = 256

    head: nn.Module

    def initialise(self, generator: torch.Generator) -> None:
        """Draw the hidden weights (He et al., 2015), and set the head to zero: the gate starts as exact averaging."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        if isinstance(self.head, nn.Linear):
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
        network.initialise(generator)  # before it moves: the same numbers on every device
        self.network = network.to(truth.device)
        self.inputs = inputs
        self.truth = truth
        self.rows = torch.from_numpy(rows)
        self.recipe = recipe
        self.generator = generator
        self.optimiser = AdamW(list(network.parameters()), recipe.learning_rate, recipe.weight_decay)

    def epoch(self) -> None:
        """Learn from every row once."""
        order = self.rows[torch.randperm(len(self.rows), generator=self.generator)]
        for batch in torch.split(order.to(self.truth.device), self.recipe.batch_size):
            for rows in torch.split(batch, self.network.rows_at_once):
                loss = self._losses(rows).sum() / len(batch)
                loss.backward()  # type: ignore[no-untyped-call]  # torch annotates it only in part
            self.optimiser.step()

    def _losses(self, batch: Tensor) -> Tensor:
        log_weights = self.network(*(values[batch] for values in self.inputs)).log_softmax(dim=1)
        likelihood = (log_weights + self.truth[batch].log()).logsumexp(dim=1)
        divergence = (log_weights.exp() * log_weights).sum(dim=1) + np.log(log_weights.shape[1])
        losses: Tensor = self.recipe.uniform_penalty * divergence - likelihood
        return losses


def infer(network: GateNetwork, inputs: Inputs) -> FloatArray:
    """Return the gate weights (n, K), float64, that `network` gives to `inputs`."""
    with torch.no_grad():
        batches = zip(*(torch.split(values, network.rows_at_once) for values in inputs), strict=True)
        logits = torch.cat([network(*batch) for batch in batches])
    return softmax(logits.double().cpu().numpy())


def seeded(seed: int, stream: int) -> torch.Generator:
    """Return a generator for one of the independent streams of `seed`."""
    state = np.random.SeedSequence([seed, stream]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))


@dataclass(frozen=True)
class NetworkTraining:
    """How networks learn from what a gate looks at: on how long, and then on all rows.

    Attributes
    ----------
    recipe : Recipe
    build : callable
        Returns an untrained network whose statistics are those of some rows of the inputs.
    device : str
        Where networks, inputs and targets stay while they learn, as torch names it.
    """

    recipe: Recipe
    build: Callable[[Inputs, IntArray], GateNetwork]
    device: str = "cpu"

    def choose_epochs(
        self, inputs: Inputs, truth: FloatArray, folds: Sequence[Fold], seed: int
    ) -> tuple[int, FloatArray]:
        """Return the number of epochs with the least loss on held-out rows, and their weights (n, K) after it.

        Parameters
        ----------
        inputs : tuple of Tensor
            Of all n rows.
        truth : ndarray (n, K), float64
            What each expert gave to the true class.
        folds : sequence of (train, test)
        seed : int
        """
        with single_thread():
            learners = [
                self._learner(inputs, truth, train, seeded(seed, 1 + fold)) for fold, (train, _) in enumerate(folds)
            ]
            return _choose_epochs(learners, [test for _, test in folds], truth, self.recipe)

    def learn(self, inputs: Inputs, truth: FloatArray, epochs: int, seed: int) -> Arrays:
        """Return parameters and statistics of a network that learned from all rows for so many epochs."""
        with single_thread():
            learner = self._learner(inputs, truth, np.arange(len(truth)), seeded(seed, 0))
            for _ in range(epochs):
                learner.epoch()
        return network_arrays(learner.network)

    def _learner(self, inputs: Inputs, truth: FloatArray, rows: IntArray, generator: torch.Generator) -> Learner:
        targets = torch.from_numpy(truth.astype(np.float32)).to(self.device)
        moved = tuple(values.to(self.device) for values in inputs)
        return Learner(self.build(inputs, rows), moved, targets, rows, self.recipe, generator)


def network_arrays(network: GateNetwork) -> Arrays:
    """Return a network's parameters and statistics."""
    return {name: value.cpu().numpy().copy() for name, value in network.state_dict().items()}


def infer_arrays(shell: GateNetwork, arrays: Arrays, inputs: Inputs) -> FloatArray:
    """Return the gate weights (n, K), float64, that the network of `arrays` gives; `shell` is of its shape."""
    shell.load_state_dict({name: torch.from_numpy(value) for name, value in arrays.items()})
    with single_thread():
        return infer(shell, inputs)


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
