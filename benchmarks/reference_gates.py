"""Experts' held-out predictions become fused ones by plain NumPy, SciPy and PyTorch loops.

Shapes everywhere: n training images, m test images, K experts, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from reference_data import Floats, Fold, Ints
from reference_linear import FLOOR, sharpness
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from sklearn.preprocessing import StandardScaler
from torch import nn

from fusion_pipeline.train.gates.constant import PRIOR
from fusion_pipeline.train.gates.embedding import EMBEDDING_SIZE
from fusion_pipeline.train.gates.log_pool import SPREAD_PENALTY
from fusion_pipeline.train.gates.training import Recipe

CLIP = 8.0


class Learner(Protocol):
    """Something that learns whom to trust."""

    def cross_fit(self, truth: Floats, folds: Sequence[Fold]) -> Floats:
        """Return the weights (n, K) of each training image, learned without its fold."""

    def fit(self, truth: Floats) -> Floats:
        """Learn from all training images; return the weights (m, K) of the test images."""


def logs(probabilities: Floats) -> Floats:
    return np.asarray(np.log(np.maximum(probabilities, FLOOR)))


def guarded(held_out: Floats, unseen: Floats, y: Ints, folds: Sequence[Fold], learner: Learner) -> Floats:
    """Fuse by learned weights where they beat averaging on held-out images, else by averaging.

    Parameters
    ----------
    held_out : ndarray (n, K, C)
    unseen : ndarray (m, K, C)
    y : ndarray (n,)
    folds : sequence of (train, test)
    learner : Learner

    Returns
    -------
    ndarray (m, C)
    """
    calibrated = softmax(sharpness(logs(held_out), y) * logs(held_out), axis=2)
    truth = np.maximum(calibrated[np.arange(len(y)), :, y], FLOOR)
    gated = np.einsum("nk,nkc->nc", learner.cross_fit(truth, folds), held_out)
    if beats(gated, held_out.mean(axis=1), y):
        return np.asarray(np.einsum("nk,nkc->nc", learner.fit(truth), unseen))
    return np.asarray(unseen.mean(axis=1))


def beats(gated: Floats, averaged: Floats, y: Ints) -> bool:
    """Return whether learned predictions (n, C) are surely likelier than averaged ones, and no less often right."""
    gains = _calibrated_nll(averaged, y) - _calibrated_nll(gated, y)
    likelier = gains.mean() > 1.645 * gains.std() / len(gains) ** 0.5
    return bool(likelier and (gated.argmax(axis=1) == y).sum() >= (averaged.argmax(axis=1) == y).sum())


def pooled(held_out: Floats, unseen: Floats, y: Ints, folds: Sequence[Fold]) -> Floats:
    """Fuse by a product of experts with learned exponents where it beats averaging; parameters as of `guarded`."""
    found = np.empty_like(held_out[:, 0])
    for train, test in folds:
        exponents = _exponents(logs(held_out[train]), y[train])
        found[test] = softmax(np.einsum("nkc,k->nc", logs(held_out[test]), exponents), axis=1)
    if beats(found, held_out.mean(axis=1), y):
        return np.asarray(softmax(np.einsum("nkc,k->nc", logs(unseen), _exponents(logs(held_out), y)), axis=1))
    return np.asarray(unseen.mean(axis=1))


def _exponents(values: Floats, y: Ints) -> Floats:
    def loss(exponents: Floats) -> float:
        nll = -log_softmax(np.einsum("nkc,k->nc", values, exponents), axis=1)[np.arange(len(y)), y].sum()
        return float(nll + SPREAD_PENALTY * ((exponents - exponents.mean()) ** 2).sum())

    start = np.full(values.shape[1], 1 / values.shape[1])
    return np.asarray(minimize(loss, start, bounds=[(0, 20)] * len(start), method="L-BFGS-B").x)


def _calibrated_nll(probabilities: Floats, y: Ints) -> Floats:
    values = logs(probabilities)
    return np.asarray(-log_softmax(sharpness(values, y) * values, axis=1)[np.arange(len(y)), y])


class Proportions:
    """The same weights for every image, by expectation maximisation."""

    def __init__(self, tested: int) -> None:
        self.tested = tested

    def cross_fit(self, truth: Floats, folds: Sequence[Fold]) -> Floats:
        """Return for each fold the proportions of the others; see `Learner`."""
        weights = np.empty_like(truth)
        for train, test in folds:
            weights[test] = _proportions(truth[train])
        return weights

    def fit(self, truth: Floats) -> Floats:
        """Return those of all training images."""
        return np.tile(_proportions(truth), (self.tested, 1))


def _proportions(truth: Floats) -> Floats:
    n, experts = truth.shape
    weights = np.full(experts, 1 / experts)
    for _ in range(10_000):
        shares = weights * truth
        updated = ((shares / shares.sum(axis=1, keepdims=True)).sum(axis=0) + PRIOR) / (n + experts * PRIOR)
        if np.abs(updated - weights).max() < 1e-10:
            break
        weights = updated
    return weights


class EmbeddingModule(nn.Module):
    """Eq. 6 of the paper with a linear layer to the weights, which starts as averaging."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.embeddings = nn.ModuleList(nn.Linear(width, EMBEDDING_SIZE) for width in widths)
        self.head = nn.Linear(EMBEDDING_SIZE, len(widths))
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, *features: torch.Tensor) -> torch.Tensor:
        """Return logits (images, K)."""
        embedded = [torch.relu(embed(each)) for embed, each in zip(self.embeddings, features, strict=True)]
        logits: torch.Tensor = self.head(torch.stack(embedded).mean(dim=0))
        return logits


class ThumbnailModule(nn.Module):
    """Eq. 5 of the paper: two convolutions, the mean over the picture, and a linear layer."""

    def __init__(self, experts: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.head = nn.Linear(64, experts)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return logits (images, K)."""
        logits: torch.Tensor = self.head(self.layers(pictures).mean(dim=(2, 3)))
        return logits


Tensors = tuple[torch.Tensor, ...]


def standardised_features(seen: Sequence[Floats], others: Sequence[Floats]) -> tuple[Tensors, Tensors]:
    """Return both sides standardised by the first, and clipped, as one tensor for each backbone."""
    scalers = [StandardScaler().fit(matrix) for matrix in seen]
    first, second = (
        tuple(
            torch.from_numpy(scaler.transform(matrix).clip(-CLIP, CLIP))
            for scaler, matrix in zip(scalers, side, strict=True)
        )
        for side in (seen, others)
    )
    return first, second


def standardised_pictures(seen: Sequence[Any], others: Sequence[Any]) -> tuple[Tensors, Tensors]:
    """Return both sides as (images, 3, size, size), each colour standardised by the first."""
    pictures = [torch.from_numpy(np.ascontiguousarray(side[0])).permute(0, 3, 1, 2).float() for side in (seen, others)]
    deviation, mean = torch.std_mean(pictures[0], dim=(0, 2, 3), keepdim=True, correction=0)
    first, second = ((each - mean) / deviation.clamp(min=1e-6) for each in pictures)
    return (first,), (second,)


class Network:
    """A PyTorch module that learns epoch by epoch, as many as held-out images ask for.

    Parameters
    ----------
    make : callable
        Returns an untrained module.
    prepare : callable
        Scales two sides of the matrices by the first.
    seen, unseen : sequence of ndarray
        What the module looks at, of the training and of the test images.
    recipe : Recipe
        Those of the package: the same epochs, patience, batches and rates.
    seed : int
    """

    def __init__(
        self,
        make: Callable[[], nn.Module],
        prepare: Callable[[Sequence[NDArray[Any]], Sequence[NDArray[Any]]], tuple[Tensors, Tensors]],
        seen: Sequence[NDArray[Any]],
        unseen: Sequence[NDArray[Any]],
        recipe: Recipe,
        seed: int,
    ) -> None:
        self.make, self.prepare, self.seen, self.unseen, self.recipe = make, prepare, seen, unseen, recipe
        self.epochs = 0
        torch.manual_seed(seed)  # type: ignore[no-untyped-call]

    def cross_fit(self, truth: Floats, folds: Sequence[Fold]) -> Floats:
        """Train a module for each fold, and note the number of epochs with the least loss on held-out images."""
        runs = []
        for train, test in folds:
            seen, held_out = self.prepare([each[train] for each in self.seen], [each[test] for each in self.seen])
            runs.append((_Run(self.make(), self.recipe, seen, truth[train]), held_out, test))
        best = np.full_like(truth, 1 / truth.shape[1])
        least = -np.log((best * truth).sum(axis=1)).mean()
        for epoch in range(1, self.recipe.epochs + 1):
            weights = np.empty_like(truth)
            for run, held_out, test in runs:
                run.epoch()
                weights[test] = run.weights(held_out)
            held_out_loss = -np.log((weights * truth).sum(axis=1)).mean()
            if held_out_loss < least:
                self.epochs, best, least = epoch, weights, held_out_loss
            if epoch - self.epochs >= self.recipe.patience:
                break
        return best

    def fit(self, truth: Floats) -> Floats:
        """Train on all training images for so many epochs; see `Learner`."""
        seen, unseen = self.prepare(self.seen, self.unseen)
        run = _Run(self.make(), self.recipe, seen, truth)
        for _ in range(self.epochs):
            run.epoch()
        return run.weights(unseen)


class _Run:
    """One module, its optimiser, and what it learns from."""

    def __init__(self, module: nn.Module, recipe: Recipe, inputs: Tensors, truth: Floats) -> None:
        self.module, self.recipe, self.inputs = module, recipe, inputs
        self.log_truth = torch.from_numpy(truth).float().log()
        self.optimiser = torch.optim.AdamW(
            module.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )

    def epoch(self) -> None:
        for batch in torch.randperm(len(self.log_truth)).split(self.recipe.batch_size):
            log_weights = self.module(*(each[batch] for each in self.inputs)).log_softmax(dim=1)
            nll = -torch.logsumexp(log_weights + self.log_truth[batch], dim=1)
            divergence = (log_weights.exp() * log_weights).sum(dim=1) + np.log(log_weights.shape[1])
            loss = (nll + self.recipe.uniform_penalty * divergence).mean()
            self.optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimiser.step()

    def weights(self, inputs: Tensors) -> Floats:
        with torch.no_grad():
            batches = zip(*(each.split(256) for each in inputs), strict=True)
            return np.concatenate([self.module(*batch).softmax(dim=1).numpy() for batch in batches])
