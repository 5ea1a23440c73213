"""A folder of pictures and settings, where `fusion` runs in processes of its own, and what that gives undisturbed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from fusion_pipeline.store import Cache
from tests.builders import Tiny, write_pictures, write_settings
from tests.faults.before import without_syncing
from tests.processes import Command

PER_CLASS, PARTITION_ROWS = 8, 4

IN_FLIGHT = 2
"""Partitions whose computing a kill may cost: the one that is computed, and the one that is written meanwhile."""

LOADED_AHEAD = 3
"""Partitions of a single batch whose images are loaded ahead, and whose leases are taken therefore."""

ROWS = 3 * PER_CLASS
DATASET = "flowers"
ONE = ("--backbone", "small_resnet")
"""What restricts an extraction to one of the two backbones."""

EXTRACT = ("extract", "--partition-rows", str(PARTITION_ROWS), "--batch-size", "4", "--json")


class Desk:
    """Where commands run.

    Parameters
    ----------
    folder : Path
        An empty folder.
    *tinies : Tiny
        The configured backbones.

    Attributes
    ----------
    undisturbed : dict of str to str
        Content digest of each store, by name, when nothing happens.
    """

    def __init__(self, folder: Path, *tinies: Tiny) -> None:
        self.folder = write_settings(folder, write_pictures(folder / DATASET, per_class=PER_CLASS), tinies)
        self.undisturbed = contents(self.extract(folder / "undisturbed"))

    def command(self, *arguments: str, before: Iterable[Callable[[], object]] = (), name: str = "command") -> Command:
        """Start a command."""
        return Command(self.folder, *arguments, name=name, before=(without_syncing, *before))

    def start(
        self, cache: Path | str, *arguments: str, before: Iterable[Callable[[], object]] = (), name: str = "command"
    ) -> Command:
        """Start an extraction into a cache."""
        return self.command(*EXTRACT, "--cache", str(cache), *arguments, before=before, name=name)

    def extract(self, cache: Path | str, *arguments: str, before: Iterable[Callable[[], object]] = ()) -> Command:
        """Extract into a cache to the end."""
        command = self.start(cache, *arguments, before=before)
        assert command.wait() == 0, command.errors
        return command

    def check_whole(self, cache: Path | str, before: Iterable[Callable[[], object]] = ()) -> None:
        """Check that verifying finds nothing."""
        command = self.command("cache", "verify", "--semantic", "--json", "--cache", str(cache), before=before)
        assert command.wait() == 0, command.errors
        assert all(store["ok"] for store in command.document["stores"])


def stores_of(command: Command) -> list[dict[str, Any]]:
    """Return what an extraction says of its stores, the index first."""
    return [command.document["index"], *command.document["stores"]]


def contents(command: Command) -> dict[str, str]:
    """Return the content digest of each store by its name."""
    return {store["backbone"]: store["content"] for store in stores_of(command)}


def published(cache: Path) -> dict[str, str]:
    """Return the content digest of each published store by its name."""
    home = Cache(cache)
    stores = home[DATASET].stores() if DATASET in home else ()
    assert len({store.name for store in stores}) == len(stores)
    return {store.name: store.manifest.content for store in stores}


def failure(command: Command, code: int) -> str:
    """Check that a command fails in one line with an exit code; return the line."""
    assert command.wait() == code, command.errors
    assert "Traceback" not in command.errors, command.errors
    return command.errors.splitlines()[-1]


def wait_until(condition: Callable[[], object], command: Command) -> None:
    """Wait for something that happens while a command runs."""
    deadline = time.monotonic() + 120
    while not condition():
        assert command.process.is_alive(), f"ended too early: {command.errors}"
        assert time.monotonic() < deadline
        time.sleep(0.002)


def check_shared(desk: Desk, commands: list[Command]) -> bool:
    """Check that all ended well, with one store of each name, and computed hardly anything twice.

    Return whether several of them had a part in one store.
    """
    for command in commands:
        assert command.wait() == 0, command.errors
        assert contents(command).items() <= desk.undisturbed.items()
    stores = [store for command in commands for store in stores_of(command)]
    for name in {store["backbone"] for store in stores}:
        same = [store for store in stores if store["backbone"] == name]
        assert len({store["manifest"] for store in same}) == 1
        assert sum(store["computed"] for store in same) <= ROWS + PARTITION_ROWS * len(same)
    return any(0 < store["computed"] < ROWS for store in stores)
