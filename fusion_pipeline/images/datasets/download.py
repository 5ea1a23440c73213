"""Turns the archives of an official host into a copy of a data set, each compared with its hash."""

from __future__ import annotations

import os
import shutil
import sys
import tarfile
import uuid
import zipfile
from collections.abc import Callable
from pathlib import Path

from fusion_pipeline.errors import FormatError, IncompleteError, RefusedError, StorageError, printable
from fusion_pipeline.images.datasets.record import Archive, OfficialDataset
from fusion_pipeline.images.walk import quoted

_SUFFIXES = (".zip", ".tar", ".tgz", ".tar.gz")


def download(record: OfficialDataset, home: Path, tell: Callable[[str], object]) -> Path:
    """Fetch and unpack a data set; the copy appears as a whole or not at all.

    The archives stay in ``.archives`` below `home`. Each is compared with its published hash. Where nobody publishes
    one, the sha256 of the first download is written beside the file and later downloads are compared with that: it
    tells a change, not a forgery. Where stderr is a terminal, it gets a bar for each.

    Parameters
    ----------
    record : OfficialDataset
    home : pathlib.Path
        The folder of all copies.
    tell : callable
        Takes a line for people about what happens.

    Returns
    -------
    pathlib.Path
        The copy, `home` and the data set's name.

    Raises
    ------
    IncompleteError
        If the host cannot be reached, or has not got it any more.
    RefusedError
        If an archive is not the one that was expected, or a member leads out of it.
    FormatError
        If an archive cannot be unpacked.
    StorageError
        If the copy cannot be written.
    """
    target, partial = home / record.name, home / f".{record.name}.partial-{uuid.uuid4().hex[:12]}"
    kept = home / ".archives" / record.name
    try:
        kept.mkdir(parents=True, exist_ok=True)
        for archive in record.archives:
            tell(f"Fetching {archive.url} ...")
            _unpack(_fetch(archive, kept, tell), partial, archive)
        os.rename(partial, target)
    except OSError as error:
        reason = error.strerror or str(error)[:100]
        raise StorageError(
            f"{quoted(target)} cannot be written: {printable(reason)}. Make room, or choose another --data-home."
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def _fetch(archive: Archive, folder: Path, tell: Callable[[str], object]) -> Path:
    import pooch  # noqa: PLC0415 - few need it
    from requests import RequestException  # noqa: PLC0415 - what pooch fetches with

    pooch.get_logger().setLevel("ERROR")
    noted = folder / f"{archive.file}.sha256"
    expected = archive.known_hash or (noted.read_text().strip() if noted.exists() else None)
    try:
        shown = pooch.HTTPDownloader(progressbar=sys.stderr.isatty())
        file = Path(pooch.retrieve(archive.url, expected, fname=archive.file, path=folder, downloader=shown))
    except RequestException as error:
        raise IncompleteError(
            f"{archive.url} cannot be fetched ({type(error).__name__}). Try again later, or fetch it by hand and "
            f"unpack it into {quoted(folder.parent.parent / folder.name)}."
        ) from None
    except ValueError:
        raise RefusedError(
            f"{archive.url} gives another file than the expected one ({expected}). Do not use it; ask its host, or "
            f"remove what is noted in {quoted(folder)} if you know why."
        ) from None
    if expected is None:
        sha256 = f"sha256:{pooch.file_hash(str(file))}"
        noted.write_text(f"{sha256}\n")
        tell(f"Nobody publishes a hash of {archive.file}. It is {sha256}; the next download must have the same.")
    return file


def _unpack(file: Path, folder: Path, archive: Archive) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if not file.name.endswith(_SUFFIXES):
        shutil.copy(file, folder / file.name)
        return
    _extract(file, folder)
    for inner in archive.inner:
        _extract(folder / inner, (folder / inner).parent)
        (folder / inner).unlink()


def _extract(file: Path, folder: Path) -> None:
    try:
        # The filter refuses members and links that lead out of the folder; zipfile leaves such names out by itself.
        options = {} if file.suffix == ".zip" else {"filter": "data"}
        shutil.unpack_archive(file, folder, **options)  # type: ignore[arg-type]
    except tarfile.FilterError as error:
        raise RefusedError(f"{quoted(file)} is not to be trusted ({printable(str(error))}). Remove it.") from None
    except (shutil.ReadError, tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        reason = printable(str(error)[:100])
        raise FormatError(f"{quoted(file)} cannot be unpacked ({reason}). Remove it, then fetch it again.") from None
