"""Turns links, loops and special files into checks that the walk ends, refuses and never blocks."""

from __future__ import annotations

import os
import re
import socket
import threading
from pathlib import Path

import pytest

from fusion_pipeline.errors import RefusedError, UnusableDataError
from fusion_pipeline.images.index import list_image_folder
from fusion_pipeline.images.inputs import list_images
from tests.images.trees import plant


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return plant(tmp_path / "pets", "cat/1.jpg", "dog/1.jpg")


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("cat/2.jpg", "1.jpg"),
        ("cat/outside.jpg", "/etc/passwd"),
        ("cat/outside", "/etc"),
        ("cat/loop", ".."),
        ("cat/dangling.jpg", "nowhere.jpg"),
        ("cat/notes.txt", "1.jpg"),
        ("bird", "cat"),
    ],
)
def test_links_are_refused(root: Path, link: str, target: str) -> None:
    (root / link).symlink_to(target)
    with pytest.raises(RefusedError, match=rf"^'{link}' in .* --follow-symlinks"):
        list_image_folder(root)


def test_hidden_links_are_ignored(root: Path) -> None:
    (root / "cat/.link.jpg").symlink_to("1.jpg")
    assert list_image_folder(root).ignored == (b"cat/.link.jpg",)


def test_root_itself_may_be_a_link(root: Path) -> None:
    link = root.parent / "link"
    link.symlink_to("pets")
    assert list_image_folder(link).paths == list_image_folder(root).paths


def test_followed_links_count_as_what_they_point_to(root: Path) -> None:
    plant(root.parent / "elsewhere", "deep/3.jpg")
    (root / "cat/2.jpg").symlink_to("1.jpg")
    (root / "bird").symlink_to("../elsewhere")
    (root / "notes.txt").symlink_to("cat/1.jpg")
    folder = list_image_folder(root, follow_symlinks=True)
    assert folder.paths == (b"bird/deep/3.jpg", b"cat/1.jpg", b"cat/2.jpg", b"dog/1.jpg")
    assert folder.ignored == (b"notes.txt",)


def test_two_classes_may_link_to_one_folder(root: Path) -> None:
    (root / "bird").symlink_to("cat")
    assert list_image_folder(root, follow_symlinks=True).paths == (b"bird/1.jpg", b"cat/1.jpg", b"dog/1.jpg")


def test_loops_end_and_are_reported(root: Path) -> None:
    plant(root, "cat/real/2.jpg")
    (root / "cat/a loop").symlink_to(".")
    (root / "cat/real/up").symlink_to("../..")
    (root / "dog/one").symlink_to("two")
    (root / "dog/two").mkdir()
    (root / "dog/two/back").symlink_to("../one")
    folder = list_image_folder(root, follow_symlinks=True)
    assert folder.paths == (b"cat/1.jpg", b"cat/real/2.jpg", b"dog/1.jpg")
    assert folder.ignored == (b"cat/a loop/", b"cat/real/up/", b"dog/one/", b"dog/two/back/")


def test_a_folder_is_listed_under_its_own_name_rather_than_a_links(root: Path) -> None:
    plant(root, "cat/z/2.jpg")
    (root / "cat/a").symlink_to("z")
    folder = list_image_folder(root, follow_symlinks=True)
    assert folder.paths == (b"cat/1.jpg", b"cat/z/2.jpg", b"dog/1.jpg")
    assert folder.ignored == (b"cat/a/",)


def test_a_link_to_itself_beside_the_classes(root: Path) -> None:
    (root / "loop").symlink_to("loop")
    with pytest.raises(RefusedError, match=r"'loop' in .* is a symbolic link"):
        list_images(root)
    with pytest.raises(UnusableDataError, match=r"'loop' in .* leads nowhere: Too many levels"):
        list_images(root, follow_symlinks=True)


def test_many_crossing_links_end_soon(root: Path) -> None:
    folders = [root / f"cat/{number}" for number in range(12)]
    for folder in folders:
        folder.mkdir()
        for other in folders:
            (folder / f"to {other.name}").symlink_to(f"../{other.name}")
    assert len(list_image_folder(root, follow_symlinks=True)) == 2


@pytest.mark.parametrize("target", ["nowhere.jpg", "dangling.jpg"])
def test_dangling_links_are_named(root: Path, target: str) -> None:
    (root / "cat/dangling.jpg").symlink_to(target)
    with pytest.raises(UnusableDataError, match=r"link 'cat/dangling\.jpg' in .* leads nowhere"):
        list_image_folder(root, follow_symlinks=True)


def test_special_files_are_refused_and_never_block(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(root / "cat/notes.txt")
    assert list_image_folder(root).ignored == (b"cat/notes.txt",)
    os.mkfifo(root / "dog/fifo\x1b.jpg")
    caught: list[Exception] = []

    def walk() -> None:
        try:
            list_image_folder(root)
        except RefusedError as error:
            caught.append(error)

    walker = threading.Thread(target=walk, daemon=True)
    walker.start()
    walker.join(timeout=10)
    assert not walker.is_alive()
    assert re.match(r"'dog/fifo\\x1b\.jpg' in .* is a FIFO", str(caught[0]))


def test_a_socket_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)  # a socket's path has room for some hundred bytes only
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("cat/socket.png")
        with pytest.raises(RefusedError, match=r"'cat/socket\.png'"):
            list_image_folder(root)


def test_a_folder_that_cannot_be_listed_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = os.scandir

    def fail(path: bytes) -> object:
        if path.endswith(b"dog"):
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", fail)
    with pytest.raises(UnusableDataError, match=r"dog' cannot be listed: Permission denied"):
        list_image_folder(root)
