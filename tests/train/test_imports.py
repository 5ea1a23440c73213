"""Imports: what a task does not need, it does not load."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "sklearn", "dask", "zarr")


@pytest.mark.parametrize(
    ("module", "allowed"),
    [
        ("fusion_pipeline.train", ()),
        ("fusion_pipeline.executors", ()),
        ("fusion_pipeline.train.experts", ()),
        ("fusion_pipeline.train.gates.registry", ()),
        ("fusion_pipeline.train.tasks", ("zarr",)),
        ("fusion_pipeline.train.model", ("sklearn", "zarr")),  # the durable writer is the store's
    ],
)
def test_a_module_loads_no_more_than_it_needs(module: str, allowed: tuple[str, ...]) -> None:
    code = f"import sys, {module}; print([name for name in {HEAVY} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(eval(found.stdout)) <= set(allowed)
