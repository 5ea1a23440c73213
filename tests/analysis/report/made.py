"""A benchmark's run with names that try to break a page, and gates that have something to learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fusion_pipeline.executors import LoopExecutor
from fusion_pipeline.train.benchmark import Protocol
from fusion_pipeline.train.benchmark_run import benchmark
from fusion_pipeline.train.folds import Split
from fusion_pipeline.train.labels.choice import LabelChoice
from fusion_pipeline.train.rows import RowName
from tests.train.made import publish, telling_data

CLASSES = ("</script><script>alert(1)</script>", "quote \" ' & {{ 7 * 7 }}", "line\nbreak \u202egpj \u05d0\u05d1\u05d2")
PATHS = (b"<img src=x onerror=alert(1)>.jpg", b"caf\xe9.jpg", "\u05e9\u05dc\u05d5\u05dd \u202e.jpg".encode())
ROWS = (
    RowName("backbone", "alpha"),
    RowName("backbone", "beta"),
    RowName("concat", "concat-softmax"),
    *(RowName("gate", name) for name in ("average", "constant", "stacking", "embedding")),
)


def make_run(home: Path, repeats: int = 1, holdout: str = "") -> Path:
    """Publish made-up stores below `home`, benchmark them, and return the folder of the run."""
    features, thumbnails, labels = telling_data(150)
    paths = [*PATHS, *(f"{row:03}.jpg".encode() for row in range(len(PATHS), len(labels)))]
    pictures = np.repeat(np.repeat(thumbnails, 2, axis=1), 2, axis=2)
    stores = publish(
        home / "cache",
        features,
        labels,
        thumbnail_sizes=(32, 64),
        thumbnails=pictures,
        class_names=CLASSES,
        paths=paths,
    )
    protocol = Protocol(Split(2, 0, holdout), repeats, "none", 0, {"none": LabelChoice()})
    return benchmark(stores, ROWS, protocol, LoopExecutor(), home / "runs").folder
