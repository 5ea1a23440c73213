"""Publications: create-if-absent, one winner, and nothing half-done that anybody could take for a store."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fusion_pipeline.errors import BusyError, StorageError
from fusion_pipeline.store import Cache, DatasetStores
from fusion_pipeline.store.care.mending import restore_manifests
from fusion_pipeline.store.care.verify import lost_manifests, verify
from fusion_pipeline.store.identity import canonical_json
from fusion_pipeline.store.making.attempt import Attempt
from fusion_pipeline.store.making.publication import (
    Publication,
    group_folder,
    manifest_copy,
    store_folder,
)
from fusion_pipeline.store.making.unfinished import tidy_published
from fusion_pipeline.store.manifest import Manifest
from fusion_pipeline.store.storage.backend import PARTIAL, Backend
from fusion_pipeline.store.storage.local import LocalBackend
from tests.builders import tree_bytes
from tests.store.failpoints import before_the_call, process_of_its_own
from tests.store.made import (
    DATASET,
    PARTITIONS,
    VERSION,
    finish,
    missing_partitions,
    open_attempt,
    open_store,
    publish,
    publish_on,
    write_partition,
)
from tests.store.storage.test_backend import together


class Stopped(BaseException):
    """The process is dead."""


@pytest.fixture
def folder(tmp_path: Path) -> LocalBackend:
    return LocalBackend(tmp_path / "cache")


def complete(backend: Backend) -> Attempt:
    """Return an attempt with all its partitions."""
    attempt = open_attempt(backend)
    for number in range(PARTITIONS):
        write_partition(attempt, number)
    return attempt


def stop() -> None:
    raise Stopped


# What a publication asks of the storage, in this order.
STEPS = {
    "announcing": ("write", ""),
    "writing": ("write_all", ""),
    "copying": ("copy_all", ""),
    "checking": ("walk", ""),
    "copying the manifest": ("write", ".json"),
    "creating the manifest": ("swap", ""),
}
LAST = "creating the manifest"


def killed_while(monkeypatch: pytest.MonkeyPatch, backend: Backend, step: str) -> Attempt:
    """Return an attempt whose run was killed at a step of its publication."""
    verb, ending = STEPS[step]
    with process_of_its_own(), monkeypatch.context() as patch:
        attempt = complete(backend)
        before_the_call(patch, backend, verb, stop, ending)
        with pytest.raises(Stopped):
            finish(attempt)
    return attempt


def groups(backend: Backend) -> list[str]:
    """Return what lies beside the manifests: Zarr groups, and the manifests' copies."""
    return [
        name
        for folder in backend.entries(DATASET).folders
        if folder != "attempts"
        for name in backend.list(f"{DATASET}/{folder}/attempts")
    ]


def test_the_manifest_names_every_file_and_stands_twice(tmp_path: Path) -> None:
    store = publish(tmp_path)
    assert {name: entry.sha256 for name, entry in store.manifest.files.items()} == tree_bytes(store.path)
    assert store.manifest.identity["dataset"] == VERSION
    assert {"created", "host", "user", "why"} <= set(store.manifest.made)
    assert store.path.with_name(f"{store.manifest.attempt}.json").read_bytes() == store.manifest_bytes
    assert sorted(tree_bytes(tmp_path / DATASET / store.folder)) == [
        *(
            f"attempts/{store.manifest.attempt}{rest}"
            for rest in (".json", *(f"/{n}" for n in sorted(tree_bytes(store.path))))
        ),
        "manifest.json",
    ]


def test_the_loser_uses_the_winners_store(backend: Backend) -> None:
    first, second = complete(backend), complete(backend)
    winner, won = finish(first)
    assert won
    assert finish(second) == (winner, False)
    assert open_store(backend, winner).manifest == winner
    assert backend.list(f"{DATASET}/attempts") == []
    assert groups(backend) == [winner.attempt, f"{winner.attempt}.json"]


def test_where_a_store_is_published_nothing_is_copied(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = complete(backend), complete(backend)
    winner, _ = finish(first)
    for verb in ("write", "write_all", "copy_all", "swap"):
        monkeypatch.setattr(backend, verb, lambda *_, verb=verb: pytest.fail(verb))
    assert finish(second) == (winner, False)


def test_many_publish_one_store(backend: Backend) -> None:
    attempts = [complete(backend) for _ in range(6)]
    results: list[tuple[Manifest, bool]] = []
    together(6, lambda number: results.append(finish(attempts[number])))
    assert sorted(won for _, won in results) == [False] * 5 + [True]
    (attempt,) = {manifest.attempt for manifest, _ in results}
    assert groups(backend) == [attempt, f"{attempt}.json"]
    assert list(verify(open_store(backend, results[0][0]))) == []


@pytest.mark.parametrize("step", STEPS)
def test_a_store_that_is_published_at_any_moment_wins(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Both have seen that nothing is published yet; the first publishes while the second is at it."""
    first, second = complete(backend), complete(backend)
    winners: list[Manifest] = []
    verb, ending = STEPS[step]
    before_the_call(monkeypatch, backend, verb, lambda: winners.append(finish(first)[0]), ending)
    assert finish(second) == (winners[0], False)
    assert groups(backend) == [winners[0].attempt, f"{winners[0].attempt}.json"]
    assert list(verify(open_store(backend, winners[0]))) == []
    assert backend.list(f"{DATASET}/attempts") == []


@pytest.mark.parametrize("step", sorted(STEPS.keys() - {LAST}))
def test_a_killed_publication_is_undone_and_its_attempt_resumed(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    left = killed_while(monkeypatch, backend, step)
    assert not any(file.path.endswith("/manifest.json") for file in backend.walk(DATASET))
    resumed = open_attempt(backend)
    assert (resumed.folder, missing_partitions(resumed)) == (left.folder, [])
    assert groups(backend) == []
    manifest, won = finish(resumed)
    assert won
    assert groups(backend) == [manifest.attempt, f"{manifest.attempt}.json"]
    assert backend.list(f"{DATASET}/attempts") == []


def test_a_publication_killed_at_its_last_step_is_finished(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    left = killed_while(monkeypatch, backend, LAST)
    assert not any(file.path.endswith("/manifest.json") for file in backend.walk(DATASET))
    (group,) = (name for name in groups(backend) if not name.endswith(".json"))
    resumed = open_attempt(backend)
    assert (resumed.folder, missing_partitions(resumed)) == (left.folder, [])
    manifest, won = finish(resumed)
    assert (manifest.attempt, won) == (group, False)
    assert list(verify(open_store(backend, manifest))) == []
    assert groups(backend) == [group, f"{group}.json"]
    assert backend.list(f"{DATASET}/attempts") == []


def test_between_copy_and_manifest_no_manifest_is_lost(folder: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[list[str]] = []
    stores = DatasetStores(Cache(folder.root), DATASET)
    before_the_call(monkeypatch, folder, "swap", lambda: found.append(lost_manifests(stores)))
    manifest, _ = finish(complete(folder))
    assert found == [[]]
    assert lost_manifests(stores) == []
    assert [store.manifest for store in stores.stores()] == [manifest]


def test_who_was_killed_between_copy_and_manifest_left_a_store_to_restore(
    folder: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_while(monkeypatch, folder, LAST)
    stores = Cache(folder.root)[DATASET]
    assert stores.stores() == ()
    (lost,) = lost_manifests(stores)
    assert restore_manifests(stores) == [f"{DATASET}/{lost}/manifest.json"]
    (store,) = stores.stores()
    assert list(verify(store)) == []
    tidy_published(folder, DATASET)
    assert folder.list(f"{DATASET}/attempts") == []


def killed_before_its_attempt_goes(monkeypatch: pytest.MonkeyPatch, backend: Backend) -> Manifest:
    """Publish a store, and be killed right before the attempt is removed; then lose the manifest."""
    with process_of_its_own(), monkeypatch.context() as patch:
        attempt = complete(backend)
        before_the_call(patch, backend, "remove", stop)
        with pytest.raises(Stopped):
            finish(attempt)
    manifest = manifest_in(backend)
    backend.remove_file(f"{Publication(backend, DATASET, manifest).store}/manifest.json")
    return manifest


def manifest_in(backend: Backend) -> Manifest:
    """Return the only manifest."""
    (path,) = (file.path for file in backend.walk(DATASET) if file.path.endswith("/manifest.json"))
    return Manifest.from_bytes(backend.read(path) or b"", path)


def test_a_lost_manifest_is_restored_whatever_announcement_is_left(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = killed_before_its_attempt_goes(monkeypatch, backend)
    open_attempt(backend).close()
    assert manifest_in(backend) == manifest
    assert list(verify(open_store(backend, manifest))) == []


@pytest.mark.parametrize("damage", ["a file is gone", "the copy is of another store", "the copy is another's"])
def test_what_cannot_be_published_as_it_is_stays(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    manifest = killed_before_its_attempt_goes(monkeypatch, backend)
    store = Publication(backend, DATASET, manifest).store
    match damage:
        case "a file is gone":
            backend.remove_file(f"{group_folder(store, manifest.attempt)}/features/c/0/0")
        case "the copy is of another store":
            other = replace(manifest, identity={**manifest.identity, "dataset": "sha256:" + "2" * 64})
            backend.write(manifest_copy(store, manifest.attempt), other.to_bytes())
        case "the copy is another's":
            backend.write(manifest_copy(store, manifest.attempt), replace(manifest, attempt="0123").to_bytes())
    open_attempt(backend).close()
    assert not backend.exists(f"{store}/manifest.json")
    assert (manifest.attempt in groups(backend)) == (damage != "the copy is another's")


def test_who_was_killed_between_copy_and_manifest_makes_way_for_a_winner(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    survivor = complete(backend)
    killed_while(monkeypatch, backend, LAST)
    winner, won = finish(survivor)
    assert won
    for name in groups(backend):
        Publication.settle(backend, Publication(backend, DATASET, winner).store, name.removesuffix(".json"))
    assert groups(backend) == [winner.attempt, f"{winner.attempt}.json"]


def test_a_publication_that_is_under_way_is_left_alone(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    first = complete(backend)
    before_the_call(monkeypatch, backend, "swap", lambda: open_attempt(backend).close())
    manifest, won = finish(first)
    assert won
    assert list(verify(open_store(backend, manifest))) == []


def test_who_was_taken_for_dead_does_not_publish_half_a_group(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """His machine slept while he published; meanwhile another one cleared away what he had begun."""
    sleeper = complete(backend)

    def clear() -> None:
        for uuid, intent in Publication.markers(backend, sleeper.folder):
            Publication.undo(backend, intent.store, uuid)

    before_the_call(monkeypatch, backend, "walk", clear)
    with pytest.raises(BusyError, match=r"was changed by another process while it was published\. Run the same"):
        finish(sleeper)
    assert groups(backend) == []
    sleeper.close()


def test_who_publishes_half_a_group_after_all_says_so(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody removed files of it between the last look and the manifest: the partitions are not lost."""
    sleeper = complete(backend)

    def clear() -> None:
        for uuid, intent in Publication.markers(backend, sleeper.folder):
            backend.remove(group_folder(intent.store, uuid))

    before_the_call(monkeypatch, backend, "swap", clear)
    with pytest.raises(BusyError, match=r"while it was published\. 'fusion cache repair' mends it\."):
        finish(sleeper)
    sleeper.close()
    assert missing_partitions(open_attempt(backend)) == []


def test_an_attempt_that_vanishes_without_a_winner_is_told(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt = complete(backend)
    before_the_call(monkeypatch, backend, "copy_all", lambda: backend.remove(attempt.folder))
    with pytest.raises(BusyError, match=r"was removed by another process\. Run the same command again"):
        finish(attempt)
    assert groups(backend) == []
    attempt.close()


def test_a_success_whose_answer_was_lost_is_a_success(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt, swap = complete(backend), backend.swap
    monkeypatch.setattr(backend, "swap", lambda *arguments: swap(*arguments) and False)
    manifest, won = finish(attempt)
    assert won
    assert open_store(backend, manifest).manifest == manifest


def test_storage_that_fails_leaves_the_attempt(folder: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise StorageError("no more")

    attempt = complete(folder)
    with monkeypatch.context() as patch:
        before_the_call(patch, folder, "swap", fail)
        with pytest.raises(StorageError, match="no more"):
            finish(attempt)
    attempt.close()
    resumed = open_attempt(folder)
    assert missing_partitions(resumed) == []
    manifest, _ = finish(resumed)
    assert list(verify(open_store(folder, manifest))) == []
    assert groups(folder) == [manifest.attempt, f"{manifest.attempt}.json"]


def test_a_damaged_store_is_replaced(backend: Backend) -> None:
    store = publish_on(backend)
    again = complete(backend)
    manifest, won = replacing(again, store.manifest_bytes)
    assert won
    assert manifest.attempt != store.manifest.attempt
    assert open_store(backend, manifest).manifest == manifest


def test_of_two_who_replace_a_damaged_store_one_wins(backend: Backend) -> None:
    store = publish_on(backend)
    first, second = complete(backend), complete(backend)
    mended, won = replacing(first, store.manifest_bytes)
    assert won
    for number in missing_partitions(second):
        write_partition(second, number)
    assert replacing(complete(backend), store.manifest_bytes) == (mended, False)
    assert open_store(backend, mended).manifest == mended
    second.close()


def replacing(attempt: Attempt, before: bytes) -> tuple[Manifest, bool]:
    """Publish in place of a store."""
    publish_ = attempt.publish
    attempt.publish = lambda **options: publish_(**options, replaces=before)  # type: ignore[method-assign]
    return finish(attempt)


def test_half_written_files_are_not_published(folder: LocalBackend) -> None:
    attempt = complete(folder)
    folder.path(f"{attempt.folder}/parts/zarr.json{PARTIAL}0123456789ab").write_bytes(b"half")
    manifest, _ = finish(attempt)
    assert set(tree_bytes(open_store(folder, manifest).path)) == set(manifest.files)


def test_an_attempt_whose_store_was_published_is_tidied_away(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    with process_of_its_own(), monkeypatch.context() as patch:
        attempt = complete(backend)
        before_the_call(patch, backend, "remove", stop)
        with pytest.raises(Stopped):
            finish(attempt)
    assert backend.exists(attempt.folder)
    tidy_published(backend, DATASET)
    assert backend.list(f"{DATASET}/attempts") == []


@pytest.mark.parametrize("why", ["not published", "somebody is at work", "somebody else's"])
def test_other_attempts_are_not_tidied_away(folder: LocalBackend, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    attempt = complete(folder)
    published = publish(folder.root.with_name("other")).manifest
    folder.write(f"{store_folder(DATASET, 'alpha', published.key)}/manifest.json", published.to_bytes())
    if why != "not published":
        Publication(folder, DATASET, published).announce(attempt.folder, "0123")
    if why != "somebody is at work":
        attempt.close()
    if why == "somebody else's":
        monkeypatch.setattr(LocalBackend, "may_write", lambda *_: False)
    before = tree_bytes(folder.root)
    tidy_published(folder, DATASET)
    assert tree_bytes(folder.root) == before
    attempt.close()


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"3", b'{"store": 1}', b'{"store": "made/x"}', b"[" * 100_000]
    + [canonical_json({"store": store, "writer": ""}) for store in ("../x", "/etc", "made/../x", "made", "", "a/b/c")],
    ids=lambda content: content[:40].decode(),
)
def test_markers_that_make_no_sense_are_passed_over(folder: LocalBackend, content: bytes) -> None:
    attempt = complete(folder)
    folder.write(f"{attempt.folder}/publishing/0123", content)
    assert list(Publication.markers(folder, attempt.folder)) == []
    tidy_published(folder, DATASET)
    attempt.close()
    assert finish(open_attempt(folder))[1]


def test_a_published_group_is_never_undone(backend: Backend) -> None:
    store = publish_on(backend)
    folder = f"{DATASET}/{store.folder}"
    Publication.undo(backend, folder, store.manifest.attempt)
    assert list(verify(store)) == []
    backend.write(manifest_copy(folder, "0123"), b"{}")
    backend.write(f"{group_folder(folder, '0123')}/zarr.json", b"{}")
    Publication.undo(backend, folder, "0123")
    assert groups(backend) == [store.manifest.attempt, f"{store.manifest.attempt}.json"]


def test_nothing_is_undone_where_the_manifest_cannot_be_read(backend: Backend) -> None:
    store = publish_on(backend)
    backend.write(f"{DATASET}/{store.folder}/manifest.json", b"{")
    before = groups(backend)
    Publication.undo(backend, f"{DATASET}/{store.folder}", store.manifest.attempt)
    assert groups(backend) == before


def test_a_manifest_may_be_published_as_it_stands_elsewhere(folder: LocalBackend) -> None:
    """Another minor version may have written more into it than this one knows."""
    store = publish(folder.root)
    there = LocalBackend(folder.root.with_name("there"))
    for file in folder.walk(f"{DATASET}/{store.folder}/attempts/{store.manifest.attempt}"):
        there.write(file.path, folder.read(file.path) or b"")
    content = json.dumps(json.loads(store.manifest_bytes)).encode()
    publication = Publication(there, DATASET, replace(store.manifest))
    assert publication.finish(content=content) == (store.manifest, True)
    assert there.read(f"{DATASET}/{store.folder}/manifest.json") == content
    assert there.read(manifest_copy(f"{DATASET}/{store.folder}", store.manifest.attempt)) == content
