"""Named bytes become a folder with a manifest of their sha256, whole or not at all, and the folder those bytes again.

Nothing in such a folder is executable, and nothing but the named files is allowed in it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn
from uuid import uuid4

from fusion_pipeline.errors import (
    FormatError,
    IncompleteError,
    IntegrityError,
    RefusedError,
    StorageError,
    UsageError,
    printable,
)
from fusion_pipeline.store.storage.durable import sync_folder
from fusion_pipeline.store.storage.local import LocalBackend

FORMAT = "fusion-model"
VERSION = "1.2"
MANIFEST = "manifest.json"

# A manifest names a few files; more bytes than this are something else, and are not read.
_MANIFEST_BYTES = 1 << 16


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a model folder: all of it, or nothing.

    Parameters
    ----------
    folder : Path
        New, empty, or an earlier model, which is replaced.
    files : mapping of str to bytes
        Content by file name.

    Raises
    ------
    UsageError
        If there is something else at `folder`.
    StorageError
        If it cannot be written; an earlier model stays. Killed between its two renames, the earlier model is left
        beside the folder under a hidden name.
    """
    entries = {name: {"length": len(content), "sha256": _sha256(content)} for name, content in files.items()}
    manifest = json_bytes({"format": FORMAT, "version": VERSION, "files": entries})
    with _storage_errors(folder):
        _refuse_other_folder(folder)
        _publish(folder, {**files, MANIFEST: manifest})


def read_folder(folder: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    """Read the files of a model folder after checking the length and sha256 of each.

    Parameters
    ----------
    folder : Path
    names : tuple of str
        The files that it must have, and must have no others.

    Raises
    ------
    IncompleteError
        If nothing is there, or a file is missing.
    FormatError
        If it is no model, or one of a newer major version.
    RefusedError
        If it holds anything that a model does not, such as a pickle.
    IntegrityError
        If a file is not what was written.
    """
    with _storage_errors(folder):
        entries = _read_manifest(folder)
        if set(entries) != set(names):
            raise FormatError(
                f"'{_shown(folder / MANIFEST)}' does not name the files of a model ({', '.join(names)}). "
                "Get another copy of it."
            )
        _refuse_strangers(folder, names)
        return {name: _checked_bytes(folder, name, entries[name]) for name in names}


def json_bytes(value: Any) -> bytes:
    """Return `value` as strict JSON for people and machines; ValueError or TypeError if it cannot be."""
    return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode("utf-8")


def json_object(content: bytes, path: Path) -> dict[str, Any]:
    """Return the object that the strict JSON of file `path` holds.

    Raises
    ------
    FormatError
        If it holds anything else.
    RefusedError
        If it is nested so deeply that reading it would exhaust the stack.
    """
    try:
        value = json.loads(content, parse_constant=_refuse_constant)
    except RecursionError:
        raise RefusedError(f"'{_shown(path)}' is nested too deeply for a model. Do not trust it.") from None
    except ValueError as error:
        raise FormatError(f"'{_shown(path)}' is not strict JSON. Get another copy of the model.") from error
    if not isinstance(value, dict):
        raise FormatError(f"'{_shown(path)}' does not hold a JSON object. Get another copy of the model.")
    return value


def check_version(record: Mapping[str, Any], path: Path) -> None:
    """Refuse a JSON object of file `path` that is not of a model, or of one of another major version (FormatError)."""
    version = str(record.get("version"))
    if record.get("format") != FORMAT:
        raise FormatError(f"'{_shown(path)}' is not part of a fusion model. Check the path.")
    if version.partition(".")[0] != VERSION.partition(".")[0]:
        raise FormatError(
            f"'{_shown(path)}' has version {printable(version)[:20]}, but this fusion reads {VERSION}. Upgrade fusion."
        )


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _shown(path: Path) -> str:
    return printable(str(path))


def _sha256(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _read_manifest(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise IncompleteError(f"There is no model at '{_shown(folder)}'. Run 'fusion train', or check the path.")
    path = folder / MANIFEST
    if not path.is_file():
        raise FormatError(f"'{_shown(folder)}' is not a fusion model: it has no {MANIFEST}. Check the path.")
    with path.open("rb") as stream:
        manifest = json_object(stream.read(_MANIFEST_BYTES), path)
    check_version(manifest, path)
    entries = manifest.get("files")
    if not isinstance(entries, dict):
        raise FormatError(f"'{_shown(path)}' does not name the files of a model. Get another copy of it.")
    return entries


def _refuse_strangers(folder: Path, names: tuple[str, ...]) -> None:
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.name not in (MANIFEST, *names) or not entry.is_file(follow_symlinks=False):
            raise RefusedError(
                f"Model '{_shown(folder)}' holds '{printable(entry.name)}', which no model does. "
                "Remove it if you trust where the model comes from."
            )


def _checked_bytes(folder: Path, name: str, entry: Any) -> bytes:
    """Return a file's bytes if they are the ones that were written."""
    path = folder / name
    if not isinstance(entry, dict):
        raise FormatError(f"'{_shown(folder / MANIFEST)}' says nothing about {name}. Get another copy of the model.")
    if not path.exists():
        raise IncompleteError(f"Model '{_shown(folder)}' lacks {name}. Get another copy of it, or train it again.")
    # The length is checked first, so that a file that grew is never read whole.
    content = path.read_bytes() if path.stat().st_size == entry.get("length") else None
    if content is None or _sha256(content) != entry.get("sha256"):
        raise IntegrityError(f"'{_shown(path)}' is damaged. Get another copy of the model, or train it again.")
    return content


def _refuse_other_folder(folder: Path) -> None:
    if not os.path.lexists(folder) or (folder.is_dir() and not any(folder.iterdir())):
        return
    try:
        _read_manifest(folder)
    except (FormatError, IncompleteError, RefusedError) as error:
        raise UsageError(
            f"'{_shown(folder)}' is there and is not a model that this fusion can replace. Choose another folder."
        ) from error


@contextmanager
def _storage_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"Model '{_shown(folder)}' cannot be read or written: {error.strerror or error}. "
            "Check space and permissions, then run the command again."
        ) from error


def _publish(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the files beside `folder`, durably, then rename them into place."""
    backend = LocalBackend(folder.parent)
    making = f".{folder.name}.{uuid4().hex}"
    try:
        for name, content in files.items():
            backend.write(f"{making}/{name}", content)
        _replace_folder(backend.path(making), folder)
        sync_folder(folder.parent)
    finally:
        backend.remove(making)


def _replace_folder(making: Path, folder: Path) -> None:
    if not folder.exists() or not any(folder.iterdir()):
        making.rename(folder)
        return
    earlier = folder.with_name(f".{folder.name}.{uuid4().hex}")
    folder.rename(earlier)
    try:
        making.rename(folder)
    except OSError:
        earlier.rename(folder)
        raise
    shutil.rmtree(earlier)
