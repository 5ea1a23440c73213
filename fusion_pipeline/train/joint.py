"""Fitted experts and a gate network become ones that are trained together: the alternative to frozen experts.

The loss is that of a gate plus what the experts were fitted with, both as means over the rows::

    mean_i [-log sum_k a_k(x_i) p_k(y_i | x_i)  +  beta * KL(a(x_i) || 1 / K)]  +  sum_k alpha_k / (2 n) * ||W_k||^2

Training starts from the frozen experts and exact averaging, and lasts as many epochs as held-out rows gain. Experts
that learn together no longer have to be right on their own: each may leave images to others.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fusion_pipeline.errors import UsageError
from fusion_pipeline.train.experts import Expert, ExpertFit, Standardiser, expert_at
from fusion_pipeline.train.folds import inner_folds
from fusion_pipeline.train.gates.gate import FloatArray, Gate, GateInputs, IntArray
from fusion_pipeline.train.gates.network import NetworkGate
from fusion_pipeline.train.gates.training import (
    AdamW,
    GateNetwork,
    Inputs,
    Recipe,
    network_arrays,
    seeded,
    single_thread,
)
from fusion_pipeline.train.mixture import sample_nll

Matrix = NDArray[np.floating]

# The experts start at their own optimum: steps as large as the gate's would first throw them out of it.
_EXPERT_RATE = 1e-4

_EVALUATED_ROWS = 256


class JointMixture(nn.Module):
    """Experts on standardised features and a gate network as one module (Eq. 3).

    Parameters
    ----------
    experts : sequence of nn.Linear
    gate : GateNetwork
    """

    def __init__(self, experts: Sequence[nn.Linear], gate: GateNetwork) -> None:
        super().__init__()
        self.linears = tuple(experts)
        self.experts = nn.ModuleList(experts)  # so that they move and are trained with the module
        self.gate = gate

    def forward(self, features: Inputs, looked_at: Inputs) -> tuple[Tensor, Tensor]:
        """Return the logarithms of gate weights (n, K) and of fused probabilities (n, C)."""
        log_weights = self.gate(*looked_at).log_softmax(dim=1)
        opinions = [linear(values).log_softmax(dim=1) for linear, values in zip(self.linears, features, strict=True)]
        return log_weights, (torch.stack(opinions, dim=1) + log_weights[:, :, None]).logsumexp(dim=1)


class JointLearner:
    """A joint mixture that learns from some rows, epoch by epoch.

    Parameters
    ----------
    experts : sequence of Expert
        Fitted on `rows`, and on no others.
    alphas : sequence of float
        Their penalties.
    standardisers : sequence of Standardiser
        Fitted on `rows`, in whose units the penalties are meant.
    gate : NetworkGate
        Knows its network and its recipe.
    matrices : sequence of ndarray (n, n_features)
        What each expert sees, of all rows.
    looked_at : tuple of Tensor
        What the gate sees, of all rows.
    labels : ndarray (n,), int64
    rows : ndarray (m,), int64
    generator : torch.Generator
    """

    def __init__(
        self,
        experts: Sequence[Expert],
        alphas: Sequence[float],
        standardisers: Sequence[Standardiser],
        gate: NetworkGate,
        matrices: Sequence[Matrix],
        looked_at: Inputs,
        labels: IntArray,
        rows: IntArray,
        generator: torch.Generator,
    ) -> None:
        self.recipe: Recipe = gate.recipe
        self.standardisers = standardisers
        network = gate.build(looked_at, rows)
        network.initialise(generator)
        linears = [_linear(expert, known) for expert, known in zip(experts, standardisers, strict=True)]
        self.mixture = JointMixture(linears, network).to(gate.device)
        self.features = tuple(
            torch.from_numpy(known(matrix).astype(np.float32)).to(gate.device)
            for known, matrix in zip(standardisers, matrices, strict=True)
        )
        self.looked_at = tuple(values.to(gate.device) for values in looked_at)
        self.labels = torch.from_numpy(labels).to(gate.device)
        self.decays = [alpha / len(rows) for alpha in alphas]
        self.rows = torch.from_numpy(rows)
        self.generator = generator
        self.optimisers = (
            AdamW(list(network.parameters()), self.recipe.learning_rate, self.recipe.weight_decay),
            AdamW(list(self.mixture.experts.parameters()), _EXPERT_RATE, 0.0),
        )

    def epoch(self) -> None:
        """Learn from every row once."""
        order = self.rows[torch.randperm(len(self.rows), generator=self.generator)].to(self.labels.device)
        for batch in torch.split(order, self.recipe.batch_size):
            self._loss(batch).backward()  # type: ignore[no-untyped-call]  # torch annotates it only in part
            for optimiser in self.optimisers:
                optimiser.step()

    def fused(self, rows: IntArray) -> FloatArray:
        """Return the fused probabilities (m, C), float64, of some rows."""
        with torch.no_grad():
            parts = [self._forward(part)[1] for part in torch.split(torch.from_numpy(rows), _EVALUATED_ROWS)]
        return np.asarray(np.exp(torch.cat(parts).double().cpu().numpy()))

    def experts(self) -> list[Expert]:
        """Return the experts as they are now, for raw features."""
        return [
            Expert.fold(_exact(linear.weight).T, _exact(linear.bias), known)
            for linear, known in zip(self.mixture.linears, self.standardisers, strict=True)
        ]

    def _forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        features = tuple(values[rows] for values in self.features)
        result: tuple[Tensor, Tensor] = self.mixture(features, tuple(values[rows] for values in self.looked_at))
        return result

    def _loss(self, batch: Tensor) -> Tensor:
        log_weights, log_fused = self._forward(batch)
        likelihood = log_fused[torch.arange(len(batch), device=batch.device), self.labels[batch]]
        divergence = (log_weights.exp() * log_weights).sum(dim=1) + np.log(log_weights.shape[1])
        loss: Tensor = (self.recipe.uniform_penalty * divergence - likelihood).mean()
        for decay, linear in zip(self.decays, self.mixture.linears, strict=True):
            loss = loss + 0.5 * decay * linear.weight.square().sum()
        return loss


def train_jointly(
    fits: Sequence[ExpertFit],
    gate: Gate,
    matrices: Sequence[Matrix],
    inputs: GateInputs,
    labels: IntArray,
    seed: int,
) -> list[Expert]:
    """Train experts and a gate together, from where the experts alone ended.

    Parameters
    ----------
    fits : sequence of ExpertFit
        One per backbone, fitted on the same rows.
    gate : Gate
        One with a network. It is fitted here; where held-out rows gain nothing it averages, and says so.
    matrices : sequence of ndarray (n, n_features)
        What each expert was fitted on.
    inputs : GateInputs
    labels : ndarray (n,), int64
    seed : int

    Returns
    -------
    list of Expert
        The very ones of `fits` where held-out rows gain nothing.

    Raises
    ------
    UsageError
        If the gate has no network.
    """
    gate = with_network(gate)
    gate.n_experts = len(fits)
    train, test = inner_folds(labels, seed)[0]
    with single_thread():
        looked_at = gate.tensors(inputs)
        trial = _learner(
            _experts_of(fits, matrices, labels, train), fits, gate, matrices, looked_at, labels, train, seed
        )
        gate.epochs = _best_epochs(trial, labels, test)
        gate.fallback = gate.epochs == 0
        if gate.fallback:
            return [fit.expert for fit in fits]
        everything = np.arange(len(labels))
        learner = _learner([fit.expert for fit in fits], fits, gate, matrices, looked_at, labels, everything, seed)
        for _ in range(gate.epochs):
            learner.epoch()
        gate.take_arrays(network_arrays(learner.mixture.gate))
        return learner.experts()


def with_network(gate: Gate) -> NetworkGate:
    """Return the gate itself, if it can be trained together with experts.

    Raises
    ------
    UsageError
        If it has no network.
    """
    if not isinstance(gate, NetworkGate):
        raise UsageError(f"Gate '{gate.name}' cannot be trained together with experts: only embedding and cnn can.")
    return gate


def _experts_of(
    fits: Sequence[ExpertFit], matrices: Sequence[Matrix], labels: IntArray, rows: IntArray
) -> list[Expert]:
    """Return experts of some rows alone, with the penalties and scalings that all rows chose."""
    n_classes = fits[0].out_of_fold.shape[1]
    return [
        expert_at(matrix[rows], labels[rows], n_classes, [fit.alpha], fit.scaling)
        for fit, matrix in zip(fits, matrices, strict=True)
    ]


def _learner(
    experts: Sequence[Expert],
    fits: Sequence[ExpertFit],
    gate: NetworkGate,
    matrices: Sequence[Matrix],
    looked_at: Inputs,
    labels: IntArray,
    rows: IntArray,
    seed: int,
) -> JointLearner:
    standardisers = [fit.scaling(matrix[rows]) for fit, matrix in zip(fits, matrices, strict=True)]
    alphas = [fit.alpha for fit in fits]
    stream = seeded(seed, 0 if len(rows) == len(labels) else 1)
    return JointLearner(experts, alphas, standardisers, gate, matrices, looked_at, labels, rows, stream)


def _best_epochs(learner: JointLearner, labels: IntArray, held_out: IntArray) -> int:
    """Return the number of epochs after which held-out rows are likeliest; none is a choice."""
    best, least = 0, float(sample_nll(learner.fused(held_out), labels[held_out]).mean())
    for epoch in range(1, learner.recipe.epochs + 1):
        learner.epoch()
        loss = float(sample_nll(learner.fused(held_out), labels[held_out]).mean())
        if loss < least:
            best, least = epoch, loss
        if epoch - best >= learner.recipe.patience:
            break
    return best


def _linear(expert: Expert, standardiser: Standardiser) -> nn.Linear:
    """Return what does to standardised features what `expert` does to raw ones."""
    weights = expert.weights.astype(np.float64)
    linear = nn.Linear(*weights.shape)
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy((weights * standardiser.scale[:, None]).T))
        linear.bias.copy_(torch.from_numpy(expert.bias + standardiser.mean @ weights))
    return linear


def _exact(parameter: Tensor) -> FloatArray:
    return np.asarray(parameter.detach().cpu().double().numpy())
