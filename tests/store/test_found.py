"""Stores that cannot be read, damaged or of a later format: in the way of who may mean them, and of nobody else."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from fusion_pipeline.errors import FormatError, FusionError, IncompleteError, IntegrityError, StaleError
from fusion_pipeline.store import Cache, DatasetStores, Store
from fusion_pipeline.store.care.selection import select_stores
from fusion_pipeline.store.care.transfer import bring, mark_arrived
from tests.store.made import DATASET, publish, publish_index, root_of, unreadable

OLD, NEW = "sha256:" + "1" * 64, "sha256:" + "2" * 64
OTHERWISE = {"kind": "backbone", "made": "otherwise"}


@pytest.fixture(params=[IntegrityError, FormatError])
def kind(request: pytest.FixtureRequest) -> type[FusionError]:
    """What an unreadable store is told as."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def spoil(kind: type[FusionError]) -> Callable[[Store], Store]:
    return lambda store: unreadable(store, newer=kind is FormatError)


def quietly(_: str, __: int) -> AbstractContextManager[Callable[[int], object]]:
    return nullcontext(lambda _: None)


@pytest.fixture
def index(tmp_path: Path) -> Store:
    return publish_index(tmp_path, NEW)


@pytest.fixture
def alpha(tmp_path: Path, index: Store) -> Store:
    return publish(tmp_path, "alpha", NEW)


@pytest.fixture
def stores(tmp_path: Path, alpha: Store) -> DatasetStores:
    return Cache(tmp_path)[DATASET]


def test_another_backbone_is_in_nobodys_way(
    stores: DatasetStores, alpha: Store, spoil: Callable[[Store], Store], kind: type[FusionError]
) -> None:
    beta = spoil(publish(root_of(alpha), "beta", NEW))
    for _ in range(2):  # where nothing says what is current, and where something does
        assert stores.index().folder == stores["alpha"].index.folder == alpha.index.folder
        assert stores.index(alpha.index.manifest.key).folder == alpha.index.folder
        assert stores.store("alpha").folder == stores.store(alpha.folder).folder == alpha.folder
        assert [store.name for store in select_stores(stores.cache, backbones=["alpha"])] == ["index", "alpha"]
        for asked in ("beta", beta.folder):
            with pytest.raises(kind):
                stores.store(asked)
            with pytest.raises(kind):
                select_stores(stores.cache, backbones=[asked])
        for every in (stores.current, stores.backbones, stores.stores, lambda: select_stores(stores.cache)):
            with pytest.raises(kind):
                every()
        with pytest.raises(IncompleteError, match=r"no finished store of backbone 'alpah'.*Did you mean 'alpha'\?"):
            stores.store("alpah")
        stores.mark_current(alpha.index, [alpha, beta])


def test_what_is_not_current_any_more_is_in_nobodys_way(
    stores: DatasetStores, alpha: Store, spoil: Callable[[Store], Store]
) -> None:
    root = root_of(alpha)
    spoil(publish_index(root, OLD))
    spoil(publish(root, "alpha", OLD))
    spoil(publish(root, "alpha", NEW, OTHERWISE))
    stores.mark_current(alpha.index, [alpha])
    assert [store.folder for store in stores.current()] == [alpha.index.folder, alpha.folder]
    assert stores.backbones() == ("alpha",)
    assert stores["alpha"].folder == alpha.folder
    assert stores["alpha"].index.folder == alpha.index.folder


def test_nothing_else_is_taken_for_what_is_current(
    stores: DatasetStores, alpha: Store, spoil: Callable[[Store], Store], kind: type[FusionError]
) -> None:
    root, index = root_of(alpha), alpha.index
    old, other = publish_index(root, OLD), publish(root, "alpha", OLD)
    publish(root, "alpha", NEW, OTHERWISE)
    stores.mark_current(index, [alpha])
    spoil(alpha)
    for every in (stores.current, stores.backbones, lambda: stores["alpha"]):
        with pytest.raises(kind):
            every()
    spoil(index)
    with pytest.raises(kind):
        stores.index()
    with pytest.raises(kind):
        stores.index(index.folder)
    assert stores.index(old.manifest.key).folder == old.folder
    assert stores.store("alpha", old).folder == other.folder


def test_where_nothing_is_said_to_be_current_one_that_bears_the_name_may_be_it(
    stores: DatasetStores, alpha: Store, spoil: Callable[[Store], Store], kind: type[FusionError]
) -> None:
    spoil(publish(root_of(alpha), "alpha", NEW, OTHERWISE))
    with pytest.raises(kind):
        stores.store("alpha")
    assert stores.store(alpha.folder).folder == alpha.folder
    spoil(publish_index(root_of(alpha), OLD))
    with pytest.raises(kind):
        stores.index()
    assert stores.index(alpha.index.folder).folder == alpha.index.folder


def test_where_nothing_fits_what_cannot_be_read_may(
    stores: DatasetStores, alpha: Store, spoil: Callable[[Store], Store], kind: type[FusionError]
) -> None:
    old = publish_index(root_of(alpha), OLD)
    with pytest.raises(StaleError):
        stores.store("alpha", old)
    spoil(publish(root_of(alpha), "alpha", OLD))
    with pytest.raises(kind):
        stores.store("alpha", old)
    spoil(alpha.index)
    with pytest.raises(kind):
        _ = Store.open(alpha.ref).index


def test_what_arrived_is_marked_whatever_lies_beside_it(
    stores: DatasetStores, alpha: Store, spoil: Callable[[Store], Store], tmp_path: Path
) -> None:
    spoil(publish(root_of(alpha), "beta", NEW))
    target = Cache(tmp_path / "target")
    mark_arrived(stores, target, [bring(store, target, quietly) for store in (alpha.index, alpha)])
    assert [store.folder for store in target[DATASET].current()] == [alpha.index.folder, alpha.folder]
    assert (tmp_path / "target" / DATASET / "current.json").exists()


def test_an_index_is_known_by_its_manifest(
    stores: DatasetStores, alpha: Store, spoil: Callable[[Store], Store]
) -> None:
    folder = root_of(alpha) / DATASET
    (folder / alpha.index.folder).rename(folder / alpha.index.folder.replace("index", "catalogue"))
    spoil(publish_index(root_of(alpha), OLD))
    opened = Store.open(alpha.ref)
    assert opened.index.folder.startswith("catalogue-")
    assert opened.class_names == ("a", "b")
