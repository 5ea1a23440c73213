"""What attempts tell of themselves: at what they are, whether somebody lives there, and when another may begin."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from fusion_pipeline.errors import DeniedError, StaleError
from fusion_pipeline.store.identity import canonical_json
from fusion_pipeline.store.making.attempt import Attempt
from fusion_pipeline.store.making.known import KnownRows, add_unfinished
from fusion_pipeline.store.making.presence import Process
from fusion_pipeline.store.making.unfinished import (
    attempt_folders,
    attempts_alike,
    describe_attempt,
    finished_rows,
    join_writers,
    living_writers,
    refuse_other_recipe,
    tidy_published,
)
from fusion_pipeline.store.storage.backend import Backend
from fusion_pipeline.store.storage.local import LocalBackend
from tests.store.failpoints import process_of_its_own
from tests.store.made import DATASET, RECIPE, make_encoder, open_attempt, write_partition

OTHERWISE = {**RECIPE, "made": "otherwise"}


def stopped(backend: Backend, recipe: Mapping[str, Any] = RECIPE, name: str = "alpha", partitions: int = 1) -> Attempt:
    """Return an attempt that its run left with some partitions done."""
    attempt = open_attempt(backend, name, recipe)
    for number in range(partitions):
        write_partition(attempt, number)
    attempt.close()
    return attempt


def test_attempts_are_found_by_data_set_and_recipe(backend: Backend) -> None:
    alpha, other = stopped(backend), stopped(backend, OTHERWISE)
    assert sorted(attempt_folders(backend, DATASET)) == sorted([alpha.folder, other.folder])
    assert list(attempt_folders(backend, "nothing")) == []
    assert list(attempts_alike(backend, DATASET, RECIPE)) == [alpha.folder]
    assert list(attempts_alike(backend, DATASET, {"kind": "backbone"})) == []


def test_an_attempt_says_what_it_is_to_become(backend: Backend) -> None:
    stated = describe_attempt(backend, stopped(backend).folder)
    assert (stated["name"], stated["recipe"]) == ("alpha", dict(RECIPE))
    assert (stated["rows"], stated["partition_rows"]) == (5, 2)


@pytest.mark.parametrize(
    "content", [None, b"", b"{", b"[]", b"3", b"[" * 100_000], ids=lambda content: str(content)[:20]
)
def test_what_cannot_be_read_says_nothing(backend: Backend, content: bytes | None) -> None:
    if content is not None:
        backend.write("made/attempts/alpha/attempt.json", content)
    assert describe_attempt(backend, "made/attempts/alpha") == {}


def test_finished_rows_are_counted(backend: Backend) -> None:
    encoder = make_encoder()
    for partitions in range(encoder.partitions + 1):
        attempt = stopped(backend, {**RECIPE, "made": str(partitions)}, partitions=partitions)
        expected = min(partitions * encoder.partition_rows, encoder.rows)
        assert finished_rows(backend, attempt.folder) == expected
    backend.write(f"{attempt.folder}/done/0-ffffffffffff.json", b"for other images")
    backend.write(f"{attempt.folder}/done/litter.json", b"")
    assert finished_rows(backend, attempt.folder) == encoder.rows
    assert finished_rows(backend, f"{DATASET}/attempts/none") == 0


def test_writers_live_until_they_leave_or_die(backend: Backend) -> None:
    folder = stopped(backend).folder
    assert not living_writers(backend, folder)
    presence = join_writers(backend, folder)
    assert living_writers(backend, folder)
    presence.leave()
    assert not living_writers(backend, folder)
    with process_of_its_own():
        join_writers(backend, folder)
        assert living_writers(backend, folder)
    assert not living_writers(backend, folder)


@pytest.mark.parametrize("here", [True, False])
def test_where_nothing_changed_for_long_only_a_process_of_this_machine_lives(backend: Backend, here: bool) -> None:
    writer = Process.this() if here else replace(Process.this(), machine="another boot")
    backend.write("made/attempts/alpha/writers/0123.json", canonical_json({**asdict(writer), "beat": 3}))
    assert living_writers(backend, "made/attempts/alpha")
    assert living_writers(backend, "made/attempts/alpha", silent=True) == here


def test_what_a_stopped_run_made_otherwise_is_not_begun_anew_unasked(backend: Backend) -> None:
    stopped(backend)
    refuse_other_recipe(backend, DATASET, "alpha", RECIPE)
    with pytest.raises(
        StaleError, match=r"'alpha' was made otherwise.*made was 'for a test', now 'otherwise'.*--anew"
    ) as caught:
        refuse_other_recipe(backend, DATASET, "alpha", OTHERWISE)
    assert caught.value.exit_code == 14


def test_another_store_and_another_budget_are_begun_unasked(backend: Backend) -> None:
    stopped(backend)
    before = list(backend.walk(""))
    refuse_other_recipe(backend, DATASET, "beta", OTHERWISE)
    refuse_other_recipe(backend, "nothing", "alpha", OTHERWISE)
    refuse_other_recipe(backend, DATASET, "alpha", {**RECIPE, "budget": {"max_pixels": 3}})
    assert list(backend.walk("")) == before, "what the stopped run left was touched"


def test_an_attempt_with_nothing_done_stops_nobody(backend: Backend) -> None:
    folder = stopped(backend, partitions=0).folder
    refuse_other_recipe(backend, DATASET, "alpha", OTHERWISE)
    assert list(attempt_folders(backend, DATASET)) == [folder], "and it stays where it was"


def test_an_attempt_that_somebody_is_at_stops_nobody(backend: Backend) -> None:
    """Two may make two stores of one backbone at once."""
    attempt = open_attempt(backend)
    write_partition(attempt, 0)
    refuse_other_recipe(backend, DATASET, "alpha", OTHERWISE)
    attempt.close()
    with pytest.raises(StaleError):
        refuse_other_recipe(backend, DATASET, "alpha", OTHERWISE)


@pytest.fixture
def shared() -> Iterator[LocalBackend]:
    """A cache that everybody may write to, seen by somebody who is not root."""
    root, user = Path(tempfile.mkdtemp()), os.geteuid()
    try:
        yield LocalBackend(root)
    finally:
        os.seteuid(user)
        for folder in root.glob("*/attempts/*"):
            folder.chmod(0o700)
        shutil.rmtree(root)


@pytest.mark.parametrize("private", ["", "writers", "done", "attempt.json"])
def test_a_private_attempt_stops_nobody(shared: LocalBackend, private: str) -> None:
    """Who only tidies up or looks around passes over what a member keeps; who must know whether he lives does not."""
    left = stopped(shared)
    for folder in (shared.root, *(shared.root / DATASET / name for name in ("", "attempts"))):
        folder.chmod(0o777)
    (shared.path(left.folder) / private).chmod(0)
    if os.geteuid() == 0:
        os.seteuid(65534)
    tidy_published(shared, DATASET)
    refuse_other_recipe(shared, DATASET, "alpha", OTHERWISE)
    other = open_attempt(shared)
    assert other.folder != left.folder
    known = KnownRows(["features"])
    add_unfinished(known, shared, other, make_encoder())
    assert len(known) == (2 if private == "writers" else 0)
    other.close()
    if private in ("", "writers"):
        with pytest.raises(DeniedError, match="Permission denied"):
            living_writers(shared, left.folder)


def test_a_name_cannot_trick_a_terminal(backend: Backend) -> None:
    stopped(backend, name="evil\x1b[2J")
    with pytest.raises(StaleError) as caught:
        refuse_other_recipe(backend, DATASET, "evil\x1b[2J", {**OTHERWISE, "weights": "\x1b[2J"})
    assert "\x1b" not in str(caught.value)
