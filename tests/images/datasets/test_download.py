"""Archives from a host into a copy: each compared with its hash, and nothing half there."""

from __future__ import annotations

import hashlib
import sys
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fusion_pipeline.errors import FormatError, IncompleteError, RefusedError, StorageError
from fusion_pipeline.images.datasets.download import download
from fusion_pipeline.images.datasets.record import Archive, OfficialDataset
from fusion_pipeline.images.datasets.registry import DATASETS
from fusion_pipeline.images.inputs import list_images
from tests.images.datasets.made import flowers102


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def host(tmp_path: Path) -> Iterator[str]:
    """Serve a made-up archive of Flowers 102 from this machine."""
    whole, served = flowers102(tmp_path / "whole"), tmp_path / "served"
    served.mkdir()
    with tarfile.open(served / "102flowers.tgz", "w:gz") as archive:
        archive.add(whole / "jpg", "jpg")
    for name in ("imagelabels.mat", "setid.mat"):
        (served / name).write_bytes((whole / name).read_bytes())
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(served)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def served(host: str, **hashes: str) -> OfficialDataset:
    names = ("102flowers.tgz", "imagelabels.mat", "setid.mat")
    archives = tuple(Archive(f"{host}/{name}", hashes.get(name.partition(".")[0])) for name in names)
    return replace(DATASETS["flowers102"], archives=archives)


def test_a_copy_is_fetched_and_noted(host: str, tmp_path: Path) -> None:
    lines: list[str] = []
    md5 = hashlib.md5((tmp_path / "served" / "setid.mat").read_bytes()).hexdigest()
    copy = download(served(host, setid=f"md5:{md5}"), tmp_path / "home", lines.append)
    assert copy == tmp_path / "home" / "flowers102"
    assert list_images(copy).listing == list_images(tmp_path / "whole").listing
    noted = sorted(path.name for path in (tmp_path / "home" / ".archives" / "flowers102").glob("*.sha256"))
    assert noted == ["102flowers.tgz.sha256", "imagelabels.mat.sha256"]
    assert sum("Nobody publishes a hash" in line for line in lines) == 2
    assert sorted(path.name for path in (tmp_path / "home").iterdir()) == [".archives", "flowers102"]


@pytest.mark.parametrize("is_terminal", [False, True])
def test_a_bar_where_somebody_watches(
    host: str, tmp_path: Path, is_terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    lines: list[str] = []
    download(served(host), tmp_path / "home", lines.append)
    assert capsys.readouterr().err.count("100%") == (3 if is_terminal else 0)


def test_another_file_than_expected(host: str, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="gives another file than the expected one"):
        download(served(host, setid="md5:" + "0" * 32), tmp_path / "home", print)
    kept = tmp_path / "home" / ".archives" / "flowers102"
    assert [path.name for path in (tmp_path / "home").iterdir()] == [".archives"]
    (kept / "imagelabels.mat").unlink()  # of which only the hash of the first download is known
    (tmp_path / "served" / "imagelabels.mat").write_bytes(b"another")
    with pytest.raises(RefusedError, match="gives another file than the expected one"):
        download(served(host), tmp_path / "home", print)


def test_a_host_that_has_it_not(host: str, tmp_path: Path) -> None:
    (tmp_path / "served" / "setid.mat").unlink()
    with pytest.raises(IncompleteError, match=r"setid.mat cannot be fetched \(HTTPError\)"):
        download(served(host), tmp_path / "home", print)
    assert [path.name for path in (tmp_path / "home").iterdir()] == [".archives"]


def test_archives_that_are_not_to_be_unpacked(host: str, tmp_path: Path) -> None:
    hostile = tmp_path / "served" / "102flowers.tgz"
    with tarfile.open(hostile, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("../../outside"))
    with pytest.raises(RefusedError, match="is not to be trusted"):
        download(served(host), tmp_path / "home", print)
    hostile.write_bytes(b"no archive")
    with pytest.raises(FormatError, match="cannot be unpacked"):
        download(served(host), tmp_path / "other", print)
    assert not (tmp_path / "outside").exists()


def test_a_home_that_is_no_folder(host: str, tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        download(served(host), tmp_path / "home", print)
