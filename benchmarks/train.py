"""Compare stage two with scikit-learn: its solvers on made-up features, and all of a benchmark on those of a cache.

Run it on an idle machine; sizes are options::

    python benchmarks/train.py
    python benchmarks/train.py --part svm --rows 4000 --classes 102
    python benchmarks/train.py --part growth --sizes 1000 2000 4000 8000
    python benchmarks/train.py --part benchmark --cache cache --data flowers17 --label-vectors glove.6B.100d.txt

Features are of low rank with classes in it, and a little noise in every direction; they are cut off at zero and stored
as float16, as those of real backbones are, and block-normalised when they are used; for ``logistic`` columns vary by 1
on average. Both sides solve the same problem, and the objectives that they reach are printed beside the seconds. The
parts: ``svm``, LinearSVC on all features, which is fitted for some classes and extrapolated to all; ``logistic``,
LogisticRegression on all features and on one backbone's; ``growth``, seconds against rows, with the exponent that fits
them; ``turns``, what a solve takes after a product by the BLAS of NumPy and after one by that of SciPy, whose threads
are others; ``memory``, the peak of a process that makes the Gram and solves with it; ``benchmark``, all rows of
``fusion benchmark`` against ``benchmarks/reference.py``, which fits the same rows one after another, and of which only
some folds are run: what is extrapolated from what is printed. Peak memory is that of all its processes together,
without what a made-up data set of a few images takes. Without ``--cache`` this part runs on that data set alone, which
shows that both sides run; it then has to be asked for.

Holding the rows, which for many features means their inner products, serves every fold, penalty and kind of model: its
seconds are printed apart, and the ratios are given with them, which is what counts, and without.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from made import make_features
from printing import blas_threads, machine, make_parser, print_parts, verdict, versions
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC
from whole import Source, whole_benchmark

from fusion_pipeline.train.solvers.blas import product, solver
from fusion_pipeline.train.solvers.gram import Gram
from fusion_pipeline.train.solvers.parts import Part
from fusion_pipeline.train.solvers.rows import GramRows, PlainRows, Rows, hold
from fusion_pipeline.train.solvers.softmax import SoftmaxSolution, log_softmax, solve_path
from fusion_pipeline.train.solvers.svm import SvmSolution, solve_svm_path

SVM_TIMES, SVM_OBJECTIVE = 20.0, 1e-5
LOGISTIC_TIMES = 3.0
MEMORY = 2.0
TURNS = 9

LOGISTIC_PRECISION = 1e-4
"""Share of the objective that both sides may be away from the optimum; ours says so itself."""

LOGISTIC_TOLERANCES = 1e-4, 1e-5, 1e-6, 1e-7, 1e-8
"""From scikit-learn's default, which may end at several times the least objective, to the last that is not better."""


@dataclass(frozen=True)
class Work:
    """Sizes of the problems.

    Parameters
    ----------
    rows : int
    widths : sequence of int
        Features of each backbone.
    classes : int
    reference_classes : int
        Those that LinearSVC is fitted for.
    repeat : int
        How often ours is run; the median counts.
    """

    rows: int
    widths: Sequence[int]
    classes: int
    reference_classes: int
    repeat: int

    @property
    def features(self) -> int:
        """All backbones together."""
        return sum(self.widths)

    @property
    def text(self) -> str:
        """One line."""
        sizes = f"{self.rows:,} rows, {self.features:,} features of {len(self.widths)} backbones"
        return f"{sizes}, {self.classes} classes"


def svm(work: Work) -> Iterator[str]:
    """Yield how much faster all one-against-rest SVMs are than LinearSVC, and how their objectives compare."""
    blocks, labels = make_features(work.rows, work.widths, work.classes)
    everyone = np.arange(work.rows)
    rows, holding = timed(lambda: hold(blocks, single=True), work.repeat)
    scales = rows.block_scales(everyone)

    def solve() -> tuple[Part, SvmSolution]:
        part = rows.part(everyone, scales=scales, constant=1.0)
        return part, next(solve_svm_path(part, labels, work.classes))

    (part, solution), solving = timed(solve, work.repeat)
    yield f"ours         {holding:8.2f} s to hold the rows, {solving:8.2f} s for {work.classes} classes"
    weights, intercepts = solution.primal(part)
    X = normalised(blocks, scales)
    # Ours is for rows as they were given, theirs for normalised ones.
    weights, intercepts = weights / _column_scales(blocks, scales)[:, None], intercepts + _mean(blocks) @ weights
    chosen = np.unique(np.linspace(0, work.classes - 1, work.reference_classes).astype(int))
    ours = theirs = spent = 0.0
    for label in chosen:
        y = labels == label
        reference, seconds = timed(lambda: quietly(LinearSVC(random_state=0).fit, X, y), 1)  # noqa: B023
        spent += seconds
        theirs += svm_objective(X, y, reference.coef_[0], float(reference.intercept_[0]))
        ours += svm_objective(X, y, weights[:, label], float(intercepts[label]))
    seconds = spent / len(chosen) * work.classes
    yield f"LinearSVC    {seconds:8.2f} s, from {len(chosen)} of the classes"
    yield times(seconds, holding, solving, SVM_TIMES)
    excess = ours / theirs - 1
    yield (
        f"objective {ours:.4f} against {theirs:.4f}: {excess:+.1e} of it  "
        f"{verdict(excess <= SVM_OBJECTIVE, f'at most {SVM_OBJECTIVE:.0e}')}"
    )


def svm_objective(X: np.ndarray, y: np.ndarray, weights: np.ndarray, intercept: float) -> float:
    missing = np.maximum(0.0, 1.0 - np.where(y, 1.0, -1.0) * (X @ weights + intercept))
    return float(weights @ weights / 2 + intercept**2 / 2 + missing @ missing)


def logistic(work: Work) -> Iterator[str]:
    """Yield how much faster softmax regressions are than LogisticRegression, and how their objectives compare."""
    blocks, labels = make_features(work.rows, work.widths, work.classes)
    for chosen in (blocks, blocks[:1]):
        yield from _logistic(work, chosen, labels)


def _logistic(work: Work, blocks: Sequence[np.ndarray], labels: np.ndarray) -> Iterator[str]:
    everyone = np.arange(work.rows)
    rows, holding = timed(lambda: hold(blocks, single=True), work.repeat)
    # Columns vary by 1 on average, as standardised ones do, for which scikit-learn's C = 1 is meant.
    scales = [scale * block.shape[1] ** 0.5 for scale, block in zip(rows.block_scales(everyone), blocks, strict=True)]

    def solve() -> tuple[Part, SoftmaxSolution]:
        part = rows.part(everyone, scales=scales)
        return part, next(solve_path(part, labels, work.classes, [1.0], LOGISTIC_PRECISION))

    (part, solution), solving = timed(solve, work.repeat)
    fit = solution.primal(part)
    X = normalised(blocks, scales)
    weights = fit.weights / _column_scales(blocks, scales)[:, None]
    ours = logistic_objective(X, labels, weights, fit.intercept + _mean(blocks) @ fit.weights)
    name = f"{X.shape[1]:,} features"
    yield f"{name}: ours {holding:.2f} s to hold the rows, {solving:.2f} s, objective {ours:.6f}"
    compared = 0.0
    for tolerance in LOGISTIC_TOLERANCES:
        model = LogisticRegression(tol=tolerance, max_iter=1000)
        reference, seconds = timed(lambda: quietly(model.fit, X, labels), 1)  # noqa: B023 - called at once
        theirs = logistic_objective(X, labels, reference.coef_.T, reference.intercept_)
        yield (
            f"{name}: LogisticRegression, tol {tolerance:.0e}: {seconds:.2f} s, objective {theirs:.6f}, "
            f"{theirs / ours - 1:+.1e} of ours"
        )
        if theirs < ours and compared:
            break
        compared = theirs
        yield f"{name}: {times(seconds, holding, solving, LOGISTIC_TIMES)}"
        if theirs <= ours * (1 + LOGISTIC_PRECISION):
            break
    yield f"{name}: objective {ours:.6f} against {compared:.6f}  {verdict(ours <= compared, 'no higher')}"


def normalised(blocks: Sequence[np.ndarray], scales: Sequence[float]) -> np.ndarray:
    """Return the blocks side by side, centred and scaled, (rows, features) float64: what scikit-learn is given."""
    X = np.concatenate(blocks, axis=1).astype(np.float64)
    X -= X.mean(axis=0)
    X *= _column_scales(blocks, scales)
    return X


def _column_scales(blocks: Sequence[np.ndarray], scales: Sequence[float]) -> np.ndarray:
    return np.repeat(scales, [block.shape[1] for block in blocks])


def _mean(blocks: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([block.mean(axis=0, dtype=np.float64) for block in blocks])


def logistic_objective(X: np.ndarray, labels: np.ndarray, weights: np.ndarray, intercept: np.ndarray) -> float:
    likelihoods = log_softmax(X @ weights + intercept)[np.arange(len(X)), labels]
    return float((weights**2).sum() / 2 - likelihoods.sum())


def growth(work: Work, sizes: Sequence[int]) -> Iterator[str]:
    """Yield the seconds of each step by the number of rows, and the exponents that fit them."""
    found: dict[str, list[float]] = {"hold": [], "svm": [], "logistic": []}
    for rows in sizes:
        blocks, labels = make_features(rows, work.widths, work.classes)
        held, seconds = timed(lambda: hold(blocks, single=True), work.repeat)  # noqa: B023 - called at once
        found["hold"].append(seconds)
        for name, solve in (("svm", _solve_svm), ("logistic", _solve_logistic)):
            found[name].append(timed(lambda: solve(held, labels, work.classes), work.repeat)[1])  # noqa: B023
        yield f"{rows:>7,} rows: " + ", ".join(f"{name} {seconds[-1]:.2f} s" for name, seconds in found.items())
    for name, seconds in found.items():
        exponent = np.polyfit(np.log(sizes), np.log(seconds), 1)[0]
        yield f"{name} grows with the rows to the power of {exponent:.2f}"


def _solve_svm(rows: Rows, labels: np.ndarray, classes: int) -> None:
    everyone = np.arange(len(labels))
    next(solve_svm_path(rows.part(everyone, scales=rows.block_scales(everyone), constant=1.0), labels, classes))


def _solve_logistic(rows: Rows, labels: np.ndarray, classes: int) -> None:
    everyone = np.arange(len(labels))
    part = rows.part(everyone, scales=rows.block_scales(everyone))
    next(solve_path(part, labels, classes, [1.0], LOGISTIC_PRECISION))


def turns(work: Work) -> Iterator[str]:
    """Yield what a solve takes when NumPy's BLAS has just been used, and when SciPy's has, which solves."""
    rng = np.random.default_rng(0)
    products, sides = rng.normal(size=(work.rows, work.rows)), rng.normal(size=(work.rows, work.classes))
    definite = (products @ products.T / work.rows + np.eye(work.rows)).T
    solve = solver(definite)
    seconds: dict[str, list[float]] = {"NumPy": [], "SciPy": []}
    for _ in range(TURNS):
        for name, multiply in (("NumPy", np.matmul), ("SciPy", product)):
            multiply(products, sides)
            seconds[name].append(timed(lambda: solve(sides), 1)[1])
    numpy, scipy = (statistics.median(found) for found in seconds.values())
    yield (
        f"a solve of {work.rows:,} rows and {work.classes} columns takes {numpy:.3f} s after a product by NumPy, "
        f"{scipy:.3f} s after one by SciPy: {numpy / scipy:.2f} times as long"
    )


def memory(work: Work) -> Iterator[str]:
    """Yield the peak memory of Grams and of an SVM on half of the rows, features included, in a process of its own."""
    command = [sys.executable, __file__, "--part", "peak", "--rows", str(work.rows), "--classes", str(work.classes)]
    command += ["--widths", *map(str, work.widths)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    peak = float(done.stdout.split()[-1])
    features, gram = 4 * work.rows * work.features, 8 * work.rows**2
    yield f"{peak / 2**20:,.0f} MiB at most, {features / 2**20:,.0f} MiB of features in float32"
    yield (
        f"{peak / features:.2f} times the features, of which n x n numbers are {gram / features:.2f}  "
        f"{verdict(peak <= MEMORY * features, f'at most {MEMORY:.0f}')}"
    )


def peak(work: Work) -> Iterator[str]:
    """Yield the bytes that this process needed at most beyond its libraries."""
    before = _peak()
    blocks, labels = make_features(work.rows, work.widths, work.classes)
    train, test = np.arange(0, work.rows, 2), np.arange(1, work.rows, 2)
    rows = GramRows((Gram.of(blocks, PlainRows(tuple(blocks)).block_scales(train)),))
    part = rows.part(train, test, constant=1.0)
    next(solve_svm_path(part, labels[train], work.classes)).held_out_values(part)
    yield str(_peak() - before)


def _peak() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def timed(task: Callable[[], Any], repeat: int) -> tuple[Any, float]:
    """Return what the task gave, and the median of its seconds."""
    seconds = []
    for _ in range(repeat):
        result = None  # what the last one gave must not take the memory that the next one needs
        started = time.perf_counter()
        result = task()
        seconds.append(time.perf_counter() - started)
    return result, statistics.median(seconds)


def quietly(fit: Callable[..., Any], *arguments: np.ndarray) -> Any:
    """Fit, and say nothing of a limit of steps that was reached: it is part of the comparison."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return fit(*arguments)


def times(theirs: float, holding: float, solving: float, wanted: float) -> str:
    ratio = theirs / (holding + solving)
    judged = verdict(ratio >= wanted, f"at least {wanted:.0f}")
    return f"{ratio:.1f} times faster  {judged}; {theirs / solving:.1f} without the holding of the rows"


def main() -> None:
    """Print the comparison."""
    options = _options()
    work = Work(options.rows, options.widths, options.classes, options.reference_classes, options.repeat)
    if options.part == "peak":
        print(*peak(work))
        return
    source = Source(options.cache, options.data, options.label_vectors) if options.cache else None
    parts: dict[str, Callable[[], Iterator[str]]] = {
        "svm": lambda: svm(work),
        "logistic": lambda: logistic(work),
        "growth": lambda: growth(work, options.sizes),
        "turns": lambda: turns(work),
        "memory": lambda: memory(work),
    }
    if source is not None or options.part == "benchmark":
        parts["benchmark"] = lambda: whole_benchmark(source, options.reference_folds, options.reference_inner_folds)
    print(machine(), f"{versions('numpy', 'scipy', 'scikit-learn', 'torch')}; {blas_threads()}", sep="\n", flush=True)
    if options.part != "benchmark":
        print(work.text, flush=True)
    print_parts(options.part, parts)


def _options() -> argparse.Namespace:
    parser = make_parser(__doc__)
    chosen = ["all", "svm", "logistic", "growth", "turns", "memory", "benchmark", "peak"]
    parser.add_argument("--part", choices=chosen, default="all")
    parser.add_argument("--rows", type=int, default=4_000)
    parser.add_argument("--classes", type=int, default=102)
    parser.add_argument("--widths", type=int, nargs="+", default=[2048, 2048, 2048, 4096, 4096])
    parser.add_argument("--reference-classes", type=int, default=4, help="those that LinearSVC is fitted for")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 2_000, 4_000, 8_000], help="rows, for growth")
    parser.add_argument("--repeat", type=int, default=1)
    of_all = parser.add_argument_group("of part benchmark")
    of_all.add_argument("--cache", help="where the stores are; without it a small data set is made up")
    of_all.add_argument("--data", help="data set in the cache, which may be left out if it has one")
    of_all.add_argument("--label-vectors", help="word vectors in GloVe's text format")
    of_all.add_argument("--reference-folds", type=int, default=1, help="outer folds that the reference fits")
    of_all.add_argument("--reference-inner-folds", type=int, default=1, help="those that it searches penalties in")
    return parser.parse_args()


if __name__ == "__main__":
    main()
