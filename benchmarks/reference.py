"""Fit every row of ``fusion benchmark`` one after another with plain scikit-learn and PyTorch, and print each.

This is the reference that ``fusion benchmark`` is compared with: what one would write in an afternoon, on the same
images, folds and near-duplicates, with as many inner folds, penalties and epochs::

    python benchmarks/reference.py --cache cache --data flowers17 --label-vectors glove.6B.100d.txt
    python benchmarks/reference.py --cache cache --data flowers17 --rows 'concat-*' average
    python benchmarks/reference.py --cache cache --data flowers17 --fitted-folds 1 --searched-folds 1

It wastes nothing on purpose. Features are read once, as float32; columns are prepared once for all penalties; what the
searches predict for held-out images is kept, and serves the rows that learn from experts; experts are fitted once for
all of these. Libraries use as many threads as they do by themselves.

The whole takes long. ``--fitted-folds`` fits only some outer folds, and ``--searched-folds`` searches penalties in only
some inner folds; the others count as the seconds of those, and each line says how many seconds were really run.
Accuracies are then of the images that were tested, and penalties may be others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import numpy as np
from printing import blas_threads, machine, make_parser, versions
from reference_data import THUMBNAILS, Clock, Data, Floats, Ints, read
from reference_gates import (
    EmbeddingModule,
    Network,
    Proportions,
    ThumbnailModule,
    guarded,
    logs,
    pooled,
    standardised_features,
    standardised_pictures,
)
from reference_linear import choose, concatenation, expert, sharpness
from scipy.special import softmax

from fusion_pipeline.train.gates.cnn import ThumbnailGate
from fusion_pipeline.train.gates.embedding import EmbeddingGate
from fusion_pipeline.train.labels.space import DEFAULT_TOP, SHARES

NONE, LEARNED, GLOVE = "none", "learned", "glove"


class Part:
    """The training and test images of one outer fold, and the experts that were fitted on it so far.

    Parameters
    ----------
    data : Data
    train, test : ndarray of int
    searched : int
        Inner folds in which penalties are searched.
    """

    def __init__(self, data: Data, train: Ints, test: Ints, searched: int) -> None:
        self.data, self.train, self.test, self.searched = data, train, test, searched
        self.y = data.labels[train]
        self.inner = data.inner_folds(train)
        self.experts: dict[str, dict[str, tuple[Floats, Floats]]] = {NONE: {}, LEARNED: {}, GLOVE: {}}

    def fit_linear(self, families: Sequence[Any], X: Floats, clock: Clock) -> tuple[Floats, Floats]:
        """Return probabilities of the training images, out of fold, and of the test images."""
        seen = X[self.train]
        chosen = choose(families, seen, self.y, self.inner, self.searched, clock)
        with clock.counting():
            unseen = chosen.family.fit(seen, self.y, chosen.number)(X[self.test])
            held_out = chosen.family.probabilities(chosen.held_out, chosen.held_out, self.y)
            return held_out, chosen.family.probabilities(unseen, chosen.held_out, self.y)

    def opinions(self, labels: str) -> tuple[Floats, Floats]:
        """Return what all experts say of the training images, out of fold, and of the test images, (images, K, C)."""
        each = [self.experts[labels][name] for name in self.data.features]
        held_out, unseen = (np.stack(side, axis=1) for side in zip(*each, strict=True))
        return held_out, unseen


Fit = Callable[[Part, Clock], Floats]
"""Fits one row on one part; returns the probabilities (m, C) of the test images."""


def fit_backbone(name: str, part: Part, clock: Clock, labels: str = NONE) -> Floats:
    features = part.data.features[name]
    X = features if labels == NONE else np.hstack([features, label_columns(part.data, name, labels)])
    found = part.fit_linear(expert(features.shape[1], () if labels == NONE else SHARES), X, clock)
    part.experts[labels][name] = found
    return found[1]


def label_columns(data: Data, name: str, labels: str) -> Floats:
    """Return the renormalised top probabilities of ImageNet's classes, or their mean of word vectors."""
    kept = data.imagenet[name].copy()
    np.put_along_axis(kept, np.argsort(kept, axis=1)[:, :-DEFAULT_TOP], 0.0, axis=1)
    kept /= kept.sum(axis=1, keepdims=True)
    return kept if labels == LEARNED or data.vectors is None else kept @ data.vectors


def fit_experts(labels: str, part: Part, clock: Clock) -> Floats:
    """Fit every backbone with a label embedding; what is returned is no row, but their mean."""
    return np.stack([fit_backbone(name, part, clock, labels) for name in part.data.features]).mean(axis=0)


def fit_concatenation(method: str, tuned: bool, part: Part, clock: Clock) -> Floats:
    blocks = list(part.data.features.values())
    family = concatenation(method, [block.shape[1] for block in blocks], part.data.seed, tuned=tuned)
    with clock.counting():
        X = np.hstack(blocks)
        if len(family.models) == 1 and not family.is_svm:  # there is nothing to choose
            return np.asarray(softmax(family.fit(X[part.train], part.y, 0)(X[part.test]), axis=1))
    return part.fit_linear([family], X, clock)[1]


def fit_average(method: str, part: Part, clock: Clock) -> Floats:
    held_out, unseen = part.opinions(NONE)
    with clock.counting():
        if method == "average":
            return np.asarray(unseen.mean(axis=1))
        if method == "logit-average":
            return np.asarray(softmax(logs(unseen).mean(axis=1), axis=1))
        sharp = np.array([sharpness(logs(held_out[:, k]), part.y) for k in range(held_out.shape[1])])
        return np.asarray(softmax(sharp[:, None] * logs(unseen), axis=2).mean(axis=1))


def fit_pool(part: Part, clock: Clock) -> Floats:
    held_out, unseen = part.opinions(NONE)
    with clock.counting():
        return pooled(held_out, unseen, part.y, part.inner)


def fit_stacking(part: Part, clock: Clock) -> Floats:
    held_out, unseen = part.opinions(NONE)
    X = np.empty((len(part.data.labels), held_out.shape[2]))
    X[part.train], X[part.test] = held_out.mean(axis=1), unseen.mean(axis=1)
    return part.fit_linear(expert(X.shape[1], ()), X, clock)[1]


def fit_gate(method: str, labels: str, part: Part, clock: Clock) -> Floats:
    """Fit weights of experts: constant ones, or those of a network."""
    data, (held_out, unseen) = part.data, part.opinions(labels)
    with clock.counting():
        folds = part.inner
        learner: Proportions | Network = Proportions(len(part.test))
        if method == "embedding":
            matrices = list(data.features.values())
            seen, others = ([matrix[rows] for matrix in matrices] for rows in (part.train, part.test))
            make = partial(EmbeddingModule, [matrix.shape[1] for matrix in matrices])
            learner = Network(make, standardised_features, seen, others, EmbeddingGate.recipe, data.seed)
        elif method != "constant":
            folds = data.inner_folds(part.train, ThumbnailGate.cross_fit_folds)
            pictures = data.thumbnails[int(method.removeprefix("cnn"))]
            make_cnn = partial(ThumbnailModule, held_out.shape[1])
            sides = [pictures[part.train]], [pictures[part.test]]
            learner = Network(make_cnn, standardised_pictures, *sides, ThumbnailGate.recipe, data.seed)
        return guarded(held_out, unseen, part.y, folds, learner)


@dataclass(frozen=True)
class Step:
    """A row of the table, or what several rows have in common.

    Parameters
    ----------
    name : str
    fit : callable
    needs : tuple of str
        Names of the steps that come before.
    is_row : bool
    """

    name: str
    fit: Fit
    needs: tuple[str, ...] = ()
    is_row: bool = True


def all_steps(data: Data) -> Iterator[Step]:
    """Yield every row in the order of the table, and the experts with label embeddings before those that fuse them."""
    for name in data.features:
        yield Step(name, partial(fit_backbone, name))
    for method in ("concat-svm", "concat-pca-svm"):
        yield Step(method, partial(fit_concatenation, method, True))
        yield Step(f"{method} (paper)", partial(fit_concatenation, method, False))
    yield Step("concat-softmax", partial(fit_concatenation, "concat-softmax", True))
    singles = tuple(data.features)
    for method in ("average", "logit-average", "calibrated-average"):
        yield Step(method, partial(fit_average, method), singles)
    yield Step("constant", partial(fit_gate, "constant", NONE), singles)
    yield Step("log-pool", fit_pool, singles)
    yield Step("stacking", fit_stacking, singles)
    adaptive = ("embedding", *(f"cnn{size}" for size in THUMBNAILS))
    for method in adaptive:
        yield Step(method, partial(fit_gate, method, NONE), singles)
    for labels in (LEARNED, GLOVE) if data.vectors is not None else (LEARNED,):
        experts = Step(f"experts + {labels}", partial(fit_experts, labels), is_row=False)
        yield experts
        for method in adaptive:
            yield Step(f"{method} + {labels}", partial(fit_gate, method, labels), (experts.name,))


@dataclass(frozen=True)
class Found:
    """What one step took, and how many images it got right.

    Parameters
    ----------
    name : str
    is_row : bool
    seconds, ran : float
        Of the whole, of which a part may be taken to be like what ran, and of what ran.
    correct, tested : int
    """

    name: str
    is_row: bool
    seconds: float
    ran: float
    correct: int
    tested: int

    @property
    def text(self) -> str:
        """One line: the accuracy, and the seconds."""
        told = f"{100 * self.correct / self.tested:6.2f} % of {self.tested:,}" if self.is_row else "no row"
        extrapolated = f", of which {self.ran:.1f} s ran" if self.seconds > 1.001 * self.ran else ""
        return f"{self.name:<24} {told:<20} {self.seconds:>9.1f} s{extrapolated}"


def fit_all(data: Data, wanted: Sequence[str] = (), fitted: int | None = None, searched: int = 99) -> Iterator[Found]:
    """Fit rows, and what they need, one after another, and yield what was found as soon as it is.

    Parameters
    ----------
    data : Data
    wanted : sequence of str
        Patterns of row names; all without them.
    fitted : int, optional
        Outer folds that are fitted; all by default.
    searched : int
        Inner folds in which penalties are searched, at most.
    """
    folds = data.folds[:fitted]
    parts = [Part(data, train, test, searched) for train, test in folds]
    tested = sum(len(test) for _, test in folds)
    for step in _chosen(list(all_steps(data)), wanted):
        clock, correct = Clock(), 0
        for part in parts:
            predicted = step.fit(part, clock).argmax(axis=1)
            correct += int((predicted == data.labels[part.test]).sum())
        yield Found(step.name, step.is_row, clock.whole * len(data.folds) / len(folds), clock.ran, correct, tested)


def _chosen(steps: Sequence[Step], wanted: Sequence[str]) -> list[Step]:
    named = [step for step in steps if not wanted or any(fnmatchcase(step.name, each) for each in wanted)]
    if not named:
        raise SystemExit(f"No row is called {', '.join(wanted)}. There are: {', '.join(step.name for step in steps)}.")
    needed = {name for step in named for name in step.needs}
    return [step for step in steps if step in named or step.name in needed]


def describe(data: Data, fitted: int | None, searched: int) -> Iterator[str]:
    """Yield what a reader needs to know of the numbers, and what is extrapolated from what."""
    n, width = len(data.labels), sum(matrix.shape[1] for matrix in data.features.values())
    yield f"{data.name}: {n:,} images, {data.n_classes} classes, {width:,} features of {len(data.features)} backbones"
    outer, inner = len(data.folds), len(data.inner_folds(data.folds[0][0]))
    if fitted is not None and fitted < outer:
        yield f"extrapolated: {fitted} of {outer} folds fitted, the others taken to need as long"
    if searched < inner:
        yield f"extrapolated: penalties searched in {searched} of {inner} inner folds, the others taken to need as long"


def main() -> None:
    """Print every row."""
    parser = make_parser(__doc__)
    parser.add_argument("--cache", default="cache")
    parser.add_argument("--data", default=None, help="data set in the cache, which may be left out if it has one")
    parser.add_argument("--label-vectors", default=None, help="word vectors in GloVe's text format")
    parser.add_argument("--rows", nargs="+", default=[], metavar="PATTERN", help="only these, and what they need")
    parser.add_argument("--folds", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fitted-folds", type=int, default=None, metavar="N", help="fit only N outer folds")
    parser.add_argument("--searched-folds", type=int, default=99, metavar="N", help="search in only N inner folds")
    options = parser.parse_args()
    started = time.perf_counter()
    data = read(options.cache, options.data, options.label_vectors, options.folds, options.seed)
    print(machine(), f"{versions('numpy', 'scipy', 'scikit-learn', 'torch')}; {blas_threads()}", sep="\n", flush=True)
    print(*describe(data, options.fitted_folds, options.searched_folds), sep="\n", flush=True)
    print(f"read in {time.perf_counter() - started:.1f} s\n", flush=True)
    seconds = 0.0
    for found in fit_all(data, options.rows, options.fitted_folds, options.searched_folds):
        print(found.text, flush=True)
        seconds += found.seconds
    print(f"\n{seconds:,.1f} s in all", flush=True)


if __name__ == "__main__":
    main()
