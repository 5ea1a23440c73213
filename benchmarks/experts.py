"""Compare each backbone's expert with plain scikit-learn on the same folds of one data set in a cache.

Run it beside a cache that ``fusion extract`` made::

    python benchmarks/experts.py --cache cache --dataset flowers17

For every backbone it prints the accuracy of the experts as ``fusion train`` fits them (penalty chosen inside the
training rows) and of ``StandardScaler`` + ``LogisticRegression`` as they come (C = 1), both on the same folds, the
difference in points, and the seconds of both, measured in this one run on one thread each.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from printing import make_parser
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from fusion_pipeline import Cache
from fusion_pipeline.train.aligned import Aligned
from fusion_pipeline.train.experts import fit_expert
from fusion_pipeline.train.folds import stratified_folds
from fusion_pipeline.train.run import choose_stores

Folds = Sequence[tuple[np.ndarray, np.ndarray]]


def ours(features: np.ndarray, labels: np.ndarray, folds: Folds, seed: int) -> np.ndarray:
    """Return the out-of-fold predicted labels, (n,), of this project's experts."""
    predicted = np.empty_like(labels)
    for train, test in folds:
        fit = fit_expert(features[train], labels[train], int(labels.max()) + 1, seed)
        predicted[test] = fit.expert.logits(features[test]).argmax(axis=1)
    return predicted


def plain(features: np.ndarray, labels: np.ndarray, folds: Folds) -> np.ndarray:
    """Return the out-of-fold predicted labels, (n,), of scikit-learn with its own defaults."""
    predicted = np.empty_like(labels)
    for train, test in folds:
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        predicted[test] = model.fit(features[train], labels[train]).predict(features[test])
    return predicted


def main() -> None:
    """Print the comparison."""
    parser = make_parser(__doc__)
    parser.add_argument("--cache", default="cache")
    parser.add_argument("--dataset", default=None)
    parser.add_argument("--folds", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    stores = Aligned.of(choose_stores(Cache(options.cache), options.dataset, ())).open()
    labels = stores.labels
    folds = stratified_folds(labels, options.folds, options.seed)
    print(f"{len(labels):,} images, {len(stores.class_names)} classes, {options.folds} folds, seed {options.seed}")
    print(f"{'backbone':<20} {'ours %':>8} {'plain %':>8} {'points':>7} {'ours s':>8} {'plain s':>8}")
    for name in stores.backbones:
        features = stores.features(name).astype(np.float64)
        with threadpool_limits(1):
            start = time.perf_counter()
            hits = (ours(features, labels, folds, options.seed) == labels).mean()
            middle = time.perf_counter()
            base = (plain(features, labels, folds) == labels).mean()
            end = time.perf_counter()
        row = f"{100 * hits:>8.2f} {100 * base:>8.2f} {100 * (hits - base):>+7.2f}"
        print(f"{name:<20} {row} {middle - start:>8.1f} {end - middle:>8.1f}", flush=True)


if __name__ == "__main__":
    main()
