"""What the fault tests share: the tally that `make soak` ends with, and the scene that most of them play in."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.builders import Tiny
from tests.faults.desk import Desk
from tests.faults.scene import Scene
from tests.faults.tally import Tally
from tests.servers import moto

_PROPERTY = "faults"


@pytest.fixture
def tally(record_property: Any) -> Iterator[Tally]:
    """Counts the faults of one test; the sum over all tests stands at the end of the run."""
    counted = Tally()
    yield counted
    record_property(_PROPERTY, [counted.tried, counted.survived])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the tally of each file, and of all."""
    files: defaultdict[str, Tally] = defaultdict(Tally)
    for report in (report for reports in terminalreporter.stats.values() for report in reports):
        for name, value in getattr(report, "user_properties", ()):
            if name == _PROPERTY and report.when == "teardown":
                files[report.nodeid.partition("::")[0]] += Tally(*value)
    if files:
        terminalreporter.section("faults")
        for file, tally in sorted(files.items()):
            terminalreporter.write_line(f"{file}: {tally}")
        terminalreporter.write_line(str(sum(files.values(), Tally())))


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory, tiny_resnet: Tiny) -> Scene:
    """A small extraction, and a cache that holds another data set already."""
    return Scene(tmp_path_factory.mktemp("scene"), tiny_resnet)


@pytest.fixture(scope="session")
def desk(tiny_resnet: Tiny, tiny_efficientnet: Tiny) -> Iterator[Desk]:
    """Where commands run, in a folder that everybody may see: pytest's own are closed to all but who runs it."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        tinies = (tiny_resnet, tiny_efficientnet)
        yield Desk(folder, *(replace(tiny, weights=Path(shutil.copy(tiny.weights, folder))) for tiny in tinies))


@pytest.fixture(scope="session")
def moto_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of an S3 server in memory, which lasts as long as the session."""
    with moto(tmp_path_factory.mktemp("moto")) as url:
        yield url
