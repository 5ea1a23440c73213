"""Settings of the tests of stage two."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from threadpoolctl import threadpool_limits


@pytest.fixture(autouse=True, scope="session")
def _one_blas_thread() -> Iterator[None]:
    """Keep BLAS to one thread: on matrices this small, threads of parallel test runs only wait for each other."""
    with threadpool_limits(1):
        yield
