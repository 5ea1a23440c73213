"""Votes by hand, and small runs of benchmarks, for the tests of Section 2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from fusion_pipeline.analysis.kept_run import KeptRun
from fusion_pipeline.analysis.votes import Votes
from fusion_pipeline.executors import LoopExecutor
from fusion_pipeline.store import Store
from fusion_pipeline.train.benchmark import Protocol
from fusion_pipeline.train.benchmark_run import BenchmarkRun, benchmark
from fusion_pipeline.train.folds import Split
from fusion_pipeline.train.labels.choice import LabelChoice
from fusion_pipeline.train.predictions import Predictions, RowPredictions
from fusion_pipeline.train.rows import RowName
from tests.train.made import publish, telling_data

HOSTILE = ('<script>alert(1)</script> "quoted"', "$x^2$\nline\u202egnp.exe", "猫 \\frac{ $")
"""Names of three classes that must be shown as text."""


def made_votes(predicted: Sequence[Sequence[int]], labels: Sequence[int], n_classes: int = 0) -> Votes:
    """Return the votes of experts a, b, c and so on, each image tested once."""
    names = tuple(f"class {label}" for label in range(n_classes or max(*labels, *(max(row) for row in predicted)) + 1))
    m = len(labels)
    experts = tuple("abcdefghijklmnopqrst"[: len(predicted)])
    return Votes(experts, np.array(predicted), np.array(labels), np.arange(m), np.zeros(m, np.int64), names)


def random_votes(experts: int, n: int, n_classes: int, seed: int = 0) -> Votes:
    """Return votes of which three in four are right."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, n_classes, n)
    guesses = generator.integers(0, n_classes, (experts, n))
    return made_votes(
        np.where(generator.random((experts, n)) < 0.75, labels, guesses).tolist(), labels.tolist(), n_classes
    )


def made_predictions(
    labels: Sequence[int],
    tested_in: Sequence[Sequence[int]],
    rows: Mapping[RowName, np.ndarray],
    weights: Mapping[RowName, np.ndarray] | None = None,
) -> Predictions:
    """Return predictions of rows whose probabilities (n_repeats, n, n_classes) are given."""
    tested = np.array(tested_in) >= 0
    n_classes = next(iter(rows.values())).shape[2]
    return Predictions(
        tuple(
            RowPredictions(
                row,
                np.where(tested[:, :, None], values, np.nan).astype(np.float32),
                np.where(tested, values.argmax(axis=2), -1),
                None if weights is None or row not in weights else weights[row].astype(np.float32),
            )
            for row, values in rows.items()
        ),
        tuple(row.method for row in rows if row.kind == "backbone"),
        tuple(f"class {label}" for label in range(n_classes)),
        tuple(f"{image}.jpg" for image in range(len(labels))),
        np.arange(len(labels)),
        np.array(labels),
        np.array(tested_in),
        None,
    )


def run_benchmark_on(
    stores: Sequence[Store], runs: Path, gates: Sequence[str], *, repeats: int = 2, holdout: str = ""
) -> BenchmarkRun:
    """Run the rows of the backbones and of some gates."""
    rows = [RowName("backbone", store.name) for store in stores] + [RowName("gate", gate) for gate in gates]
    protocol = Protocol(Split(2, 0, holdout), repeats, "none", 0, {"none": LabelChoice()})
    return benchmark(stores, rows, protocol, LoopExecutor(), runs)


def publish_telling(home: Path, n: int = 150, *, most: int = 2, classes: int = 3, bad: int = 4) -> list[Store]:
    """Publish images whose features tell whom to trust, under names that nobody should trust; one image is bad."""
    features, thumbnails, labels = telling_data(n)
    kept = labels < classes
    some = {name: matrix[kept] for name, matrix in list(features.items())[:most]}
    paths = [b"caf\xe9/%03d.jpg" % row if row % 2 else f"<b>{row:03}\u202e$.jpg".encode() for row in range(kept.sum())]
    return publish(
        home,
        some,
        labels[kept],
        bad={next(iter(some)): [bad]},
        thumbnails=thumbnails[kept],
        class_names=HOSTILE[:classes],
        paths=paths,
    )


def pooled(votes: Votes, repeats: int) -> Votes:
    """Return the same votes as those of several repeats."""
    return replace(
        votes,
        predicted=np.tile(votes.predicted, repeats),
        labels=np.tile(votes.labels, repeats),
        images=np.tile(votes.images, repeats),
        repeats=np.repeat(np.arange(repeats), len(votes.labels)),
    )


def crowded_run(folder: Path, backbones: int = 12, n: int = 240, n_classes: int = 60) -> KeptRun:
    """Return a run of many backbones with long names and many classes, whose gate trusts the first ones most."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, n_classes, n)
    names = [f"timm:vit_small_patch14_reg4_dinov2.lvd142m_{number}" for number in range(backbones)]
    truth = np.eye(n_classes)[labels]
    probabilities = [
        (generator.dirichlet([0.05] * n_classes, n) + generator.random((n, 1)) * (1 + number / 8) * truth)[None]
        for number in range(backbones)
    ]
    probabilities = [each / each.sum(axis=2, keepdims=True) for each in probabilities]
    gate = RowName("gate", "embedding")
    rows = {RowName("backbone", name): each for name, each in zip(names, probabilities, strict=True)}
    weights = generator.dirichlet(np.linspace(4, 0.2, backbones), (1, n))
    fused = np.einsum("rnk,krnc->rnc", weights, np.stack(probabilities))
    predictions = made_predictions(
        labels.tolist(), [[image % 2 for image in range(n)]], {**rows, gate: fused}, {gate: weights}
    )
    summary = {
        "dataset": {"name": "a_data_set_with_a_rather_long_name"},
        "protocol": {"repeats": 1},
        "rows": [{"fallbacks": [False, False]} for _ in predictions.rows],
    }
    return KeptRun(folder, summary, predictions, None)
