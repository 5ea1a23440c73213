"""Training rows become linear classifiers by scikit-learn, their penalties chosen by inner cross-validation."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from reference_data import Clock, Floats, Fold, Ints
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import LinearSVC

from fusion_pipeline.train.concat import COSTS
from fusion_pipeline.train.experts import DEFAULT_ALPHAS

COMPONENTS = 1000
FLOOR = 1e-15


class BlockNormaliser(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Centres each block of columns and gives its rows a mean squared norm of `square`."""

    def __init__(self, widths: Sequence[int], square: float = 1.0) -> None:
        self.widths = widths
        self.square = square

    def fit(self, X: Floats, y: Ints | None = None) -> BlockNormaliser:  # noqa: ARG002
        """Find the centres and sizes of the blocks."""
        self.mean_ = X.mean(axis=0)
        blocks = np.split(X.var(axis=0), np.cumsum(self.widths)[:-1])
        scales = [(self.square / variances.sum()) ** 0.5 if variances.any() else 1.0 for variances in blocks]
        self.scale_ = np.repeat(scales, self.widths).astype(X.dtype)
        return self

    def transform(self, X: Floats) -> Floats:
        """Return rows made so."""
        return np.asarray((X - self.mean_) * self.scale_)


class LabelScaler(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Standardises the first columns, and gives all others together `share` of their variance."""

    def __init__(self, width: int, share: float) -> None:
        self.width = width
        self.share = share

    def fit(self, X: Floats, y: Ints | None = None) -> LabelScaler:  # noqa: ARG002
        """Find the centres and sizes of the columns."""
        self.features_ = StandardScaler().fit(X[:, : self.width])
        varying = int((X[:, : self.width].std(axis=0) > 0).sum())
        self.labels_ = BlockNormaliser([X.shape[1] - self.width], self.share * varying).fit(X[:, self.width :])
        return self

    def transform(self, X: Floats) -> Floats:
        """Return rows made so."""
        features, labels = np.split(X, [self.width], axis=1)
        return np.hstack([self.features_.transform(features), self.labels_.transform(labels)])


@dataclass(frozen=True)
class Family:
    """One preparation of the columns, and the same model at several penalties.

    Parameters
    ----------
    prepare : callable
        From the number of training rows to an unfitted transformer.
    models : sequence
        Unfitted ones.
    is_svm : bool
        Whether its values are decisions, which become probabilities by a temperature, and no logits.
    """

    prepare: Callable[[int], Any]
    models: Sequence[Any]
    is_svm: bool = False

    def fit(self, X: Floats, y: Ints, number: int) -> Callable[[Floats], Floats]:
        """Fit one of the models; return what computes its values (n, n_classes)."""
        transformer = self.prepare(len(X)).fit(X)
        model = _fitted(self.models[number], transformer.transform(X), y)
        return lambda unseen: _values(model, transformer.transform(unseen), int(y.max()) + 1)

    def probabilities(self, values: Floats, held_out: Floats, y: Ints) -> Floats:
        """Return the probabilities of some values, at the temperature that fits those held out of the rows of `y`."""
        return np.asarray(softmax((sharpness(held_out, y) if self.is_svm else 1.0) * values, axis=1))

    def loss(self, values: Floats, y: Ints) -> float:
        """Return the mean negative log-likelihood of the probabilities of some held-out values."""
        return float(log_loss(y, self.probabilities(values, values, y), labels=np.arange(values.shape[1])))


@dataclass(frozen=True)
class Chosen:
    """What inner cross-validation found.

    Parameters
    ----------
    family : Family
    number : int
        Of the model.
    loss : float
    held_out : ndarray (n, n_classes)
        Values of each row by models that were fitted without it.
    """

    family: Family
    number: int
    loss: float
    held_out: Floats


def choose(
    families: Sequence[Family], X: Floats, y: Ints, inner: Sequence[Fold], searched: int, clock: Clock
) -> Chosen:
    """Return the model of least held-out loss, and its values of all rows.

    Losses are those of the first `searched` inner folds. What all of them would take is counted, so that fitting the
    chosen model in the others, for their values, is counted already.
    """
    best: Chosen | None = None
    for family in families:
        with clock.counting(len(inner) / len(inner[:searched])):
            values = _search(family, X, y, inner[:searched])
        rows = np.concatenate([test for _, test in inner[:searched]])
        losses = [family.loss(each[rows], y[rows]) for each in values]
        number = int(np.argmin(losses))
        if best is None or losses[number] < best.loss:
            best = Chosen(family, number, losses[number], values[number])
    if best is None:
        raise ValueError("There is nothing to choose from.")
    with clock.counting(0.0):
        for train, test in inner[searched:]:
            best.held_out[test] = best.family.fit(X[train], y[train], best.number)(X[test])
    return best


def _search(family: Family, X: Floats, y: Ints, folds: Sequence[Fold]) -> Floats:
    values = np.full((len(family.models), len(y), int(y.max()) + 1), np.nan)
    for train, test in folds:
        transformer = family.prepare(len(train)).fit(X[train])
        seen, unseen = transformer.transform(X[train]), transformer.transform(X[test])
        for number, model in enumerate(family.models):
            values[number, test] = _values(_fitted(model, seen, y[train]), unseen, values.shape[2])
    return values


def _fitted(model: Any, X: Floats, y: Ints) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return clone(model).fit(X, y)


def _values(model: Any, X: Floats, n_classes: int) -> Floats:
    """Return logits of a regression, or decisions of an SVM; those of a class that it never saw are least."""
    found = model.decision_function(X)
    if found.ndim == 1:
        found = np.column_stack([-found / 2, found / 2])
    values = np.full((len(X), n_classes), float(found.min()) - 10.0)
    values[:, model.classes_] = found
    return values


def sharpness(values: Floats, y: Ints) -> float:
    """Return the inverse temperature at which softmax makes the labels likeliest; of (n, K, C), on average over K."""
    experts = values.reshape(len(y), -1, values.shape[-1])

    def nll(logarithm: float) -> float:
        averaged = softmax(np.exp(logarithm) * experts, axis=2).mean(axis=1)
        return float(-np.log(np.maximum(averaged[np.arange(len(y)), y], FLOOR)).mean())

    return float(np.exp(minimize_scalar(nll, bounds=(-3.0, 3.0), method="bounded").x))


def regressions() -> list[Any]:
    return [LogisticRegression(C=1 / penalty, max_iter=1000) for penalty in DEFAULT_ALPHAS]


def expert(width: int, shares: Sequence[float]) -> list[Family]:
    """Return the families of one backbone's expert: features alone, or with labels that count one of `shares`."""
    if not shares:
        return [Family(lambda _rows: StandardScaler(), regressions())]
    return [Family(lambda _rows, share=share: LabelScaler(width, share), regressions()) for share in shares]


def concatenation(method: str, widths: Sequence[int], seed: int, *, tuned: bool) -> Family:
    """Return the family of a row called concat."""
    if method == "concat-softmax":
        return Family(lambda _rows: BlockNormaliser(widths, COMPONENTS), regressions())
    normaliser = BlockNormaliser(widths) if tuned else FunctionTransformer()
    svms = [LinearSVC(C=cost, random_state=seed) for cost in (COSTS if tuned else [1.0])]
    if method == "concat-svm":
        return Family(lambda _rows: clone(normaliser), svms, is_svm=True)

    def reduced(rows: int) -> Any:
        return make_pipeline(clone(normaliser), PCA(min(COMPONENTS, rows - 1, sum(widths)), random_state=seed))

    return Family(reduced, svms, is_svm=True)
