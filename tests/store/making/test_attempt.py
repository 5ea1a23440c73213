"""Attempts: resumed by re-hashing, never mixed, shared by all who make the same store."""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from fusion_pipeline.errors import IncompleteError, IntegrityError, RefusedError, StorageError
from fusion_pipeline.store.care.verify import verify
from fusion_pipeline.store.layout import GroupEncoder, backbone_arrays
from fusion_pipeline.store.making import attempt as attempt_module
from fusion_pipeline.store.making.attempt import Attempt
from fusion_pipeline.store.making.record import PartitionRecord
from fusion_pipeline.store.manifest import Manifest
from fusion_pipeline.store.storage.backend import Backend
from fusion_pipeline.store.storage.durable import HalfWritten
from fusion_pipeline.store.storage.local import LocalBackend
from tests.builders import tree_bytes
from tests.store.failpoints import process_of_its_own
from tests.store.made import (
    DATASET,
    FEATURES,
    N_FEATURES,
    PARTITIONS,
    RECIPE,
    ROWS,
    SAMPLES,
    finish,
    missing_partitions,
    open_attempt,
    open_store,
    publish,
    rows_of,
    write_partition,
)

LENGTHS = {"features": 3, "imagenet_probabilities": 2}


def no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def folder(tmp_path: Path) -> LocalBackend:
    return LocalBackend(tmp_path / "cache")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt_module, "POLL_SECONDS", 0.01)


def stopped(backend: Backend, partitions: int = PARTITIONS) -> Attempt:
    """Return an attempt with some of its partitions, left by its run."""
    attempt = open_attempt(backend)
    for number in range(partitions):
        write_partition(attempt, number)
    attempt.close()
    return attempt


def record_of(attempt: Attempt, number: int) -> PartitionRecord:
    record = attempt.record(number, SAMPLES[rows_of(number)])
    assert record is not None
    return record


def file_of(backend: LocalBackend, attempt: Attempt, number: int, name: str = "features") -> Path:
    """Return the file of one array in one partition of an attempt."""
    (file,) = (file for file in record_of(attempt, number).files if file.startswith(f"{name}/"))
    return backend.path(record_of(attempt, number).path(attempt.folder, file))


def done_file(backend: LocalBackend, attempt: Attempt, number: int) -> Path:
    (found,) = backend.path(f"{attempt.folder}/done").glob(f"{number}-*.json")
    return found


def test_resume_finds_what_is_done(backend: Backend) -> None:
    left = stopped(backend, 2)
    resumed = open_attempt(backend)
    assert (resumed.folder, missing_partitions(resumed)) == (left.folder, [2])
    assert record_of(resumed, 1).samples == tuple(SAMPLES[2:4])
    assert [number for number, _ in resumed.records()] == [0, 1]
    assert np.array_equal(resumed.read(1, record_of(resumed, 1), "features"), FEATURES[2:4])
    assert finish(resumed)[1]


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete", "record", "no-record"])
def test_only_a_damaged_partition_is_redone(folder: LocalBackend, damage: str) -> None:
    left = stopped(folder)
    chunk, record = file_of(folder, left, 1), done_file(folder, left, 1)
    match damage:
        case "flip":
            chunk.write_bytes(bytes([chunk.read_bytes()[0] ^ 1]) + chunk.read_bytes()[1:])
        case "truncate":
            chunk.write_bytes(b"")
        case "delete":
            chunk.unlink()
        case "record":
            record.write_bytes(b'{"samples": [')
        case "no-record":
            record.unlink()
    resumed = open_attempt(folder)
    assert missing_partitions(resumed) == [1]
    manifest, _ = finish(resumed)
    assert manifest.content == publish(folder.root.with_name("undisturbed")).manifest.content
    assert list(verify(open_store(folder, manifest))) == []


def test_damage_shows_when_rows_are_read(folder: LocalBackend) -> None:
    attempt = open_attempt(folder)
    write_partition(attempt, 0)
    file_of(folder, attempt, 0).write_bytes(b"1")
    with pytest.raises(IntegrityError, match=r"features.c.0.0' is damaged\. Run the same command again"):
        attempt.read(0, record_of(attempt, 0), "features")
    attempt.close()


@pytest.mark.parametrize("damage", [b"", b"{}", b"[]", b'{"name": "beta"}'])
def test_a_damaged_description_costs_no_partition(folder: LocalBackend, damage: bytes) -> None:
    left = stopped(folder)
    description = folder.path(f"{left.folder}/attempt.json")
    before = description.read_bytes()
    description.write_bytes(damage)
    resumed = open_attempt(folder)
    assert missing_partitions(resumed) == []
    assert description.read_bytes() == before
    resumed.close()


def test_who_cannot_resume_leaves(folder: LocalBackend, tmp_path: Path) -> None:
    left = stopped(folder)
    record = done_file(folder, left, 1)
    record.unlink()
    record.symlink_to(tmp_path)
    threads = threading.active_count()
    with pytest.raises(RefusedError, match="is a link"):
        open_attempt(folder)
    assert folder.list(f"{left.folder}/writers") == []
    assert threading.active_count() == threads


def test_another_recipe_begins_anew(folder: LocalBackend) -> None:
    left = stopped(folder)
    before = tree_bytes(folder.path(left.folder))
    other = open_attempt(folder, recipe={"kind": "backbone", "made": "otherwise"})
    assert other.folder != left.folder
    assert missing_partitions(other) == [0, 1, 2]
    assert tree_bytes(folder.path(left.folder)) == before
    other.close()


@pytest.mark.parametrize("what", ["partition rows", "listing", "rows"])
def test_another_division_or_listing_begins_anew(folder: LocalBackend, what: str) -> None:
    left = stopped(folder)
    rows, partition_rows = ROWS + (what == "rows"), 3 if what == "partition rows" else 2
    encoder = GroupEncoder(backbone_arrays(N_FEATURES, 2, "float16", head=True), rows, partition_rows)
    other = Attempt.open(folder, DATASET, "alpha", RECIPE, encoder, listing="a b" if what == "listing" else "")
    assert other.folder != left.folder
    assert list(other.records()) == []
    other.close()


def test_a_folder_of_somebody_else_is_left_to_him(folder: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    left = stopped(folder)
    before = tree_bytes(folder.path(left.folder))
    monkeypatch.setattr(LocalBackend, "may_write", lambda _self, path: path != left.folder)
    other = open_attempt(folder)
    assert other.folder.startswith(f"{left.folder}-")
    assert finish(other)[1]
    assert tree_bytes(folder.path(left.folder)) == before


def test_a_record_round_trips(folder: LocalBackend) -> None:
    attempt = open_attempt(folder)
    nothing = {name: np.full((1, length), np.nan, np.float16) for name, length in LENGTHS.items()}
    attempt.write(2, {**nothing, "status": np.array([6], np.uint8)}, [""], {4: 6}, {"device": "cpu"}, {"worth": 1})
    record = attempt.record(2, [""])
    assert record is not None
    assert (record.bad, record.made, record.told) == ({4: 6}, {"device": "cpu"}, {"worth": 1})
    assert PartitionRecord.from_bytes(record.to_bytes()) == record
    attempt.close()


def test_every_damage_to_a_record_shows(folder: LocalBackend) -> None:
    content = done_file(folder, stopped(folder, 1), 0).read_bytes()
    for position in range(len(content)):
        flipped = content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]
        for damaged in (content[:position], flipped):
            with pytest.raises((ValueError, KeyError, TypeError, AttributeError)):
                PartitionRecord.from_bytes(damaged)


@pytest.mark.parametrize("part", ["../../elsewhere", "parts/../../x", "/etc", "parts/0-0123456789ab/..", "parts", ""])
def test_a_record_that_leads_out_of_its_attempt_is_damaged(folder: LocalBackend, part: str) -> None:
    record = record_of(stopped(folder, 1), 0)
    forged = PartitionRecord(record.samples, {}, record.files, part)
    with pytest.raises(ValueError, match="damaged"):
        PartitionRecord.from_bytes(forged.to_bytes())


@pytest.mark.parametrize("files", ["none", "too few", "too many"])
def test_a_record_of_other_files_is_not_done(folder: LocalBackend, files: str) -> None:
    left = stopped(folder)
    record, path = record_of(left, 1), done_file(folder, left, 1)
    named = dict(record.files)
    match files:
        case "none":
            named.clear()
        case "too few":
            del named["status/c/1"]
        case "too many":
            named["status/c/2"] = named["status/c/1"]
    path.write_bytes(PartitionRecord(record.samples, {}, named, record.part).to_bytes())
    resumed = open_attempt(folder)
    assert missing_partitions(resumed) == [1]
    path.write_bytes(PartitionRecord(record.samples, {}, named, record.part).to_bytes())
    assert resumed.record(1, record.samples) is None
    resumed.close()


@pytest.mark.parametrize("name", ["7-0123.json", "x-0123.json", "record.json"])
def test_records_of_no_partition_are_removed(folder: LocalBackend, name: str) -> None:
    left = stopped(folder)
    content = done_file(folder, left, 0).read_bytes()
    folder.write(f"{left.folder}/done/{name}", content)
    resumed = open_attempt(folder)
    assert [number for number, _ in resumed.records()] == [0, 1, 2]
    assert name not in folder.list(f"{left.folder}/done")
    resumed.close()


def test_storage_that_fails_keeps_finished_partitions(folder: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt = open_attempt(folder)
    write_partition(attempt, 0)
    with monkeypatch.context() as patch:
        patch.setattr(HalfWritten, "sync", no_space)
        with pytest.raises(StorageError, match="No space"):
            write_partition(attempt, 1)
    attempt.close()
    resumed = open_attempt(folder)
    assert missing_partitions(resumed) == [1, 2]
    resumed.close()


def test_an_incomplete_attempt_is_not_published(backend: Backend) -> None:
    attempt = open_attempt(backend)
    write_partition(attempt, 1)
    with pytest.raises(IncompleteError, match=r"lacks partitions 0, 2\. Run the same command again"):
        attempt.publish(kind="backbone", dataset_digest="sha256:00", samples=SAMPLES, arrays={}, made={})
    attempt.close()


def test_a_partition_of_other_images_is_kept_beside(backend: Backend) -> None:
    """An image was edited between two runs: both versions of the data set can still be finished."""
    attempt = open_attempt(backend)
    write_partition(attempt, 0)
    edited = ["ee" * 32, SAMPLES[1]]
    assert attempt.record(0, edited) is None
    rows = {name: np.ones((2, length), np.float16) for name, length in LENGTHS.items()}
    attempt.write(0, {**rows, "status": np.zeros(2, np.uint8)}, edited, {})
    for opened in (attempt, open_attempt(backend)):
        assert {record.samples for _, record in opened.records()} == {tuple(edited), tuple(SAMPLES[:2])}
        newer = opened.record(0, edited)
        assert newer is not None
        assert opened.read(0, newer, "features").tolist() == [[1, 1, 1], [1, 1, 1]]
        assert np.array_equal(opened.read(0, record_of(opened, 0), "features"), FEATURES[:2])
        opened.close()


def test_of_two_who_computed_a_partition_the_first_is_kept(backend: Backend) -> None:
    one, two = open_attempt(backend), open_attempt(backend)
    write_partition(one, 0)
    write_partition(two, 0)
    assert record_of(one, 0) == record_of(two, 0)
    one.close()
    two.close()


def test_hashes_of_a_partition_that_another_made_are_in_memory_once(backend: Backend) -> None:
    other, attempt = open_attempt(backend), open_attempt(backend)
    write_partition(other, 1)
    samples = tuple(SAMPLES[2:4])
    record = attempt.record(1, samples)
    assert record is not None
    assert record.samples is samples
    for one in (other, attempt):
        one.close()


def test_adopted_partitions_are_those_of_the_store(backend: Backend) -> None:
    manifest, _ = finish(open_attempt(backend))
    store = open_store(backend, manifest)
    attempt = open_attempt(backend)
    own = {name: manifest.files[name] for name in ("features/c/1/0", "imagenet_probabilities/c/1/0", "status/c/1")}
    made, told = {"device": "gpu"}, {"softmax_deviation": 0.25}
    attempt.adopt(1, PartitionRecord(tuple(SAMPLES[2:4]), {}, own, "", made, told), store.file("").rstrip("/"))
    assert missing_partitions(attempt) == [0, 2]
    assert np.array_equal(attempt.read(1, record_of(attempt, 1), "features"), FEATURES[2:4])
    assert (record_of(attempt, 1).made, record_of(attempt, 1).told) == (made, told)
    attempt.discard()
    assert list(verify(store)) == []


@pytest.mark.parametrize("gone", ["store", "attempt"])
def test_what_is_gone_is_not_adopted(backend: Backend, gone: str) -> None:
    """The store was repaired by another member, and its former group collected; or the attempt was published."""
    manifest, _ = finish(open_attempt(backend))
    attempt, source = open_attempt(backend), open_store(backend, manifest).file("").rstrip("/")
    backend.remove(source if gone == "store" else attempt.folder)
    own = {name: manifest.files[name] for name in ("features/c/1/0", "imagenet_probabilities/c/1/0", "status/c/1")}
    attempt.adopt(1, PartitionRecord(tuple(SAMPLES[2:4]), {}, own, ""), source)
    assert missing_partitions(attempt) == [0, 1, 2]
    assert attempt.gone == (gone == "attempt")
    attempt.discard()
    assert backend.list(f"{DATASET}/attempts") == []


class Shared:
    """What several writers of one attempt do, and who computed what."""

    def __init__(self) -> None:
        self.computed: list[tuple[int, int]] = []
        self.results: list[tuple[Manifest, bool]] = []
        self.errors: list[BaseException] = []

    def compute(self, who: int, attempt: Attempt, number: int) -> None:
        time.sleep(0.005)
        self.computed.append((number, who))
        write_partition(attempt, number)

    def run(self, who: int, attempt: Attempt) -> None:
        """Do what an extraction does: what nobody is at, then what is left, then publish."""
        for number in range(PARTITIONS):
            if attempt.claim(number) and not attempt.has(number):
                self.compute(who, attempt, number)
        for number in range(PARTITIONS):
            if not attempt.wait(number, SAMPLES[rows_of(number)]):
                self.compute(who, attempt, number)
        if attempt.gone:
            attempt.discard()
        else:
            self.results.append(finish(attempt))

    def run_all(self, *attempts: Attempt) -> None:
        barrier = threading.Barrier(len(attempts))

        def run(who: int, attempt: Attempt) -> None:
            barrier.wait()
            try:
                self.run(who, attempt)
            except BaseException as error:
                self.errors.append(error)

        threads = [threading.Thread(target=run, args=item) for item in enumerate(attempts)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("writers", [2, 5])
def test_writers_share_the_work_and_end_with_one_store(backend: Backend, writers: int) -> None:
    shared = Shared()
    attempts = [open_attempt(backend) for _ in range(writers)]
    assert len(attempts[0].others()) == writers - 1
    shared.run_all(*attempts)
    assert shared.errors == []
    assert sorted(number for number, _ in shared.computed) == [0, 1, 2]
    assert sum(won for _, won in shared.results) == 1
    (manifest,) = {manifest.attempt: manifest for manifest, _ in shared.results}.values()
    store = open_store(backend, manifest)
    assert np.array_equal(store.features[:], FEATURES)
    assert list(verify(store)) == []
    assert backend.list(f"{DATASET}/attempts") == []
    assert backend.list(f"{DATASET}/{store.folder}/attempts") == [manifest.attempt, f"{manifest.attempt}.json"]


def test_a_claim_is_the_claimants_until_he_leaves(backend: Backend) -> None:
    one, two = open_attempt(backend), open_attempt(backend)
    assert one.claim(0)
    assert one.claim(0)
    assert not two.claim(0)
    assert two.claim(1)
    one.close()
    assert two.claim(0)
    two.close()


def test_who_waits_sees_the_work_of_another(backend: Backend) -> None:
    one, two = open_attempt(backend), open_attempt(backend)
    assert one.claim(0)
    later = threading.Timer(0.05, write_partition, (one, 0))
    later.start()
    assert two.wait(0, SAMPLES[:2])
    later.join()
    assert missing_partitions(two) == [1, 2]
    assert not two.wait(1, SAMPLES[2:4])
    one.close()
    two.close()


def test_the_claim_of_a_dead_writer_is_taken_over(backend: Backend) -> None:
    with process_of_its_own():
        dying = open_attempt(backend)
        assert dying.claim(0)
        assert dying.claim(1)
        write_partition(dying, 0)
        living = open_attempt(backend)
        assert not living.claim(0)
    heir, another = open_attempt(backend), open_attempt(backend)
    assert heir.others() != []
    assert [heir.claim(number) for number in (0, 1, 2)] == [True] * 3
    assert (heir.has(0), heir.has(1)) == (True, False)
    assert not heir.wait(1, SAMPLES[2:4])
    assert [another.claim(number) for number in (0, 1, 2)] == [False] * 3
    heir.close()
    another.close()


@pytest.mark.parametrize("content", [b"", bytes(16), b"\xff" * 16, b"../../../../etc/x", b"0123456789abcdef\n"])
def test_a_damaged_lease_is_nobodys(backend: Backend, content: bytes) -> None:
    """A machine that lost its power may leave a file of zeros."""
    attempt, other = open_attempt(backend), open_attempt(backend)
    backend.write(f"{attempt.folder}/claims/0-0", content)
    assert attempt.claim(0)
    assert not other.claim(0)
    attempt.close()
    other.close()


def test_who_waits_for_a_dying_writer_inherits_his_finished_work(backend: Backend) -> None:
    waiting = open_attempt(backend)
    with process_of_its_own():
        dying = open_attempt(backend)
        assert dying.claim(0)
        assert not waiting.claim(0)
        write_partition(dying, 0)
    assert waiting.claim(0)
    assert waiting.has(0)
    waiting.close()


def test_who_lost_the_attempt_notices(backend: Backend) -> None:
    one, two = open_attempt(backend), open_attempt(backend)
    manifest, _ = finish(one)
    assert not two.claim(0)
    assert backend.list(f"{DATASET}/attempts") == []
    assert two.gone
    assert two.wait(1, SAMPLES[2:4])
    two.discard()
    assert backend.list(f"{DATASET}/attempts") == []
    assert list(verify(open_store(backend, manifest))) == []


def test_a_partition_that_comes_too_late_leaves_nothing(backend: Backend) -> None:
    one, two = open_attempt(backend), open_attempt(backend)
    assert two.claim(0)
    finish(one)
    write_partition(two, 0)
    assert two.gone
    assert backend.list(f"{DATASET}/attempts") == []
    two.close()


@pytest.mark.parametrize("operation", ["open", "link", "replace", "unlink"])
def test_an_attempt_that_is_removed_at_any_moment_is_no_failure(
    folder: LocalBackend, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    attempt = open_attempt(folder)
    true, removed = getattr(os, operation), list[bool]()

    def late(*arguments: object, **options: object) -> object:
        if attempt.folder in str(arguments[0]) and not removed:
            removed.append(True)
            shutil.rmtree(folder.path(attempt.folder))
        return true(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, operation, late)
        claimed = attempt.claim(0)
        write_partition(attempt, 0)
    assert removed
    assert attempt.gone
    assert not claimed or operation == "replace"  # nothing is renamed before there is something to write
    attempt.discard()
    assert folder.list(f"{DATASET}/attempts") == []


def test_who_leaves_an_attempt_to_others_removes_nothing(backend: Backend) -> None:
    one, two = open_attempt(backend), open_attempt(backend)
    write_partition(one, 0)
    one.discard()
    assert two.record(0, SAMPLES[:2]) is not None
    assert finish(two)[1]


def test_discard_leaves_nothing(backend: Backend) -> None:
    attempt = open_attempt(backend)
    write_partition(attempt, 0)
    attempt.discard()
    assert backend.list(f"{DATASET}/attempts") == []


def test_what_cannot_be_tidied_up_is_no_failure(folder: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: LocalBackend, path: str) -> None:
        raise StorageError(f"busy: {path}")

    attempt = open_attempt(folder)
    monkeypatch.setattr(LocalBackend, "remove", refuse)
    assert finish(attempt)[1]


def test_what_partitions_were_made_with_is_told_of_the_store(folder: LocalBackend) -> None:
    attempt = open_attempt(folder)
    for number, device, deviation in ((0, "cpu", 0.1), (1, "cuda", 0.3), (2, "cpu", 0.2)):
        rows = rows_of(number)
        arrays: dict[str, np.ndarray] = {
            name: np.ones((len(SAMPLES[rows]), length), np.float16) for name, length in LENGTHS.items()
        }
        arrays["status"] = np.zeros(len(SAMPLES[rows]), np.uint8)
        told = {"softmax_deviation": deviation, "reused": {"sha256:aa": number, "this store": 1}}
        attempt.write(number, arrays, SAMPLES[rows], {}, {"device": device}, told)
    head = {"head_weight": np.ones((2, N_FEATURES), np.float32), "head_bias": np.zeros(2, np.float32)}
    manifest, _ = attempt.publish(
        kind="backbone", dataset_digest="sha256:00", samples=SAMPLES, arrays=head, made={"device": "cpu", "batch": 4}
    )
    assert manifest.made["softmax_deviation"] == 0.3
    assert manifest.made["reused_from"] == {"sha256:aa": 3, "this store": 3}
    assert manifest.made["also_made_with"] == [{"device": "cuda"}]
    assert (manifest.made["device"], manifest.made["batch"]) == ("cpu", 4)
    assert {"created", "host", "user"} <= set(manifest.made)
