"""A complete group of files into a published store: create-if-absent, and nothing half-done that a reader could see."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from fusion_pipeline.errors import BusyError, FormatError, FusionError, IntegrityError, RefusedError, printable
from fusion_pipeline.store.identity import canonical_json
from fusion_pipeline.store.manifest import Manifest, NewerFormatError
from fusion_pipeline.store.paths import MANIFEST, group_folder, manifest_copy, store_folder
from fusion_pipeline.store.storage.backend import Backend

_PUBLISHING = "publishing"


def read_manifest(backend: Backend, store: str) -> Manifest | None:
    """Return the manifest of the store in a folder, or None if none is published there."""
    path = f"{store}/{MANIFEST}"
    content = backend.read(path)
    return None if content is None else Manifest.from_bytes(content, backend.where(path))


def has_copy(backend: Backend, store: str, attempt: str) -> bool:
    """Return whether the second copy of a group's manifest is there and whole, or a newer version's.

    It is written once the group is complete, and removed before the group is. Where it is and the manifest is not, a
    store lost its manifest or was just about to get it. Nothing tells which, and to publish it loses nothing.
    """
    path = manifest_copy(store, attempt)
    try:
        content = backend.read(path)
        return content is not None and Manifest.from_bytes(content, backend.where(path)).attempt == attempt
    except NewerFormatError:
        return True
    except (IntegrityError, FormatError, RefusedError):
        return False


@dataclass(frozen=True)
class Intent:
    """What a writer that publishes says beforehand, for those who find its traces.

    Parameters
    ----------
    store : str
        Folder of the store.
    writer : str
        Nonce of the writer among those of the attempt.
    """

    store: str
    writer: str


@dataclass(frozen=True)
class Publication:
    """One try to publish.

    Parameters
    ----------
    backend : Backend
        The cache.
    dataset : str
        Name of the data set.
    manifest : Manifest
        Of the store.
    """

    backend: Backend
    dataset: str
    manifest: Manifest

    @property
    def store(self) -> str:
        """Folder of the store."""
        return store_folder(self.dataset, self.manifest.name, self.manifest.key)

    def run(
        self,
        attempt: str,
        writer: str,
        content: Mapping[str, bytes],
        sources: Mapping[str, str],
        replaces: bytes | None = None,
    ) -> tuple[Manifest, bool]:
        """Put the group together and publish it, unless somebody published the same store first.

        Parameters
        ----------
        attempt : str
            Folder of the attempt; a kill leaves a marker there, by which the next run clears away what was half-done.
        writer : str
            Nonce of the writer.
        content : mapping of str to bytes
            Files of the group that were not written yet.
        sources : mapping of str to str
            The others, and where they are.
        replaces : bytes, optional
            The manifest that may be there, of a damaged store.

        Returns
        -------
        manifest : Manifest
            The published one.
        won : bool
            Whether it is this one.

        Raises
        ------
        BusyError
            If the attempt vanished and no store is there, or somebody removed files of the group meanwhile.
        StorageError
            If the storage fails.
        """
        winner = read_manifest(self.backend, self.store) if replaces is None else None
        if winner is not None:
            return winner, False
        self.announce(attempt, writer)
        group = group_folder(self.store, self.manifest.attempt)
        try:
            self.backend.write_all({f"{group}/{name}": data for name, data in content.items()})
            self.backend.copy_all({f"{group}/{name}": source for name, source in sources.items()})
        except FileNotFoundError:  # who won has removed the attempt
            self.undo(self.backend, self.store, self.manifest.attempt)
            return self._winner(attempt), False
        return self.finish(replaces)

    def announce(self, attempt: str, writer: str) -> None:
        """Say in an attempt that a group is about to be published, for those who find what a kill leaves of it."""
        intent = canonical_json({"store": self.store, "writer": writer})
        self.backend.write(self.marker(attempt, self.manifest.attempt), intent)

    def finish(self, replaces: bytes | None = None, content: bytes | None = None) -> tuple[Manifest, bool]:
        """Publish a group that is complete in its place.

        Parameters
        ----------
        replaces : bytes, optional
            The manifest that may be there, of a damaged store.
        content : bytes, optional
            The manifest as it stands elsewhere, which a later minor version of the format may have written.

        Returns
        -------
        manifest : Manifest
            The published one.
        won : bool
            Whether it is this one.
        """
        self._check_complete("Run the same command again.")
        content = self.manifest.to_bytes() if content is None else content
        self.backend.write(manifest_copy(self.store, self.manifest.attempt), content)
        if self.backend.swap(f"{self.store}/{MANIFEST}", replaces, content):
            # Once more, for between the look and the manifest this writer may have slept for days: one listing.
            self._check_complete("'fusion cache repair' mends it.")
            return self.manifest, True
        winner = self._winner(self.store)
        if winner.attempt == self.manifest.attempt:  # the lost answer to a success
            return winner, True
        self.undo(self.backend, self.store, self.manifest.attempt)
        return winner, False

    def _check_complete(self, advice: str) -> None:
        """Insist that nobody took this writer for dead, after a long sleep of its machine, and cleared its traces."""
        group = group_folder(self.store, self.manifest.attempt)
        found = {file.path.removeprefix(f"{group}/"): file.length for file in self.backend.walk(group)}
        if any(found.get(name) != entry.length for name, entry in self.manifest.files.items()):
            raise BusyError(
                f"'{printable(self.backend.where(group))}' was changed by another process while it was published. "
                f"{advice}"
            )

    def _winner(self, vanished: str) -> Manifest:
        winner = read_manifest(self.backend, self.store)
        if winner is None:
            raise BusyError(
                f"'{printable(self.backend.where(vanished))}' was removed by another process. "
                "Run the same command again."
            )
        return winner

    @staticmethod
    def marker(attempt: str, uuid: str) -> str:
        """Return the path of the file that announces a publication."""
        return f"{attempt}/{_PUBLISHING}/{uuid}"

    @staticmethod
    def markers(backend: Backend, attempt: str) -> Iterator[tuple[str, Intent]]:
        """Yield what was announced in an attempt: the name of each group, and the intent."""
        for name in backend.list(f"{attempt}/{_PUBLISHING}"):
            try:
                stated = json.loads(backend.read(f"{attempt}/{_PUBLISHING}/{name}") or b"")
                intent = Intent(str(stated["store"]), str(stated["writer"]))
            except (ValueError, KeyError, TypeError, RecursionError):
                continue
            if _names_a_store(intent.store):
                yield name, intent

    @staticmethod
    def is_published(backend: Backend, uuid: str, intent: Intent) -> bool:
        """Return whether an announced publication succeeded."""
        with suppress(FusionError):  # a damaged manifest tells nothing
            manifest = read_manifest(backend, intent.store)
            return manifest is not None and manifest.attempt == uuid
        return False

    @classmethod
    def settle(cls, backend: Backend, store: str, uuid: str) -> None:
        """End what a dead writer was about to publish: publish its group if it is complete, or else remove it."""
        path = manifest_copy(store, uuid)
        with suppress(FusionError):
            if (content := backend.read(path)) is not None:
                left = cls(backend, store.partition("/")[0], Manifest.from_bytes(content, backend.where(path)))
                if (left.store, left.manifest.attempt) == (store, uuid):
                    left.finish(content=content)
        cls.undo(backend, store, uuid)

    @staticmethod
    def undo(backend: Backend, store: str, uuid: str) -> None:
        """Remove a group that was not published, if that is certain."""
        with suppress(FusionError):
            manifest = read_manifest(backend, store)
            if manifest is None and has_copy(backend, store, uuid):
                return
            if manifest is None or manifest.attempt != uuid:
                backend.remove_file(manifest_copy(store, uuid))
                backend.remove(group_folder(store, uuid))


def _names_a_store(folder: str) -> bool:
    """Return whether a folder is one of a data set: what a marker says is removed, and must not lead elsewhere."""
    parts = folder.split("/")
    return len(parts) == 2 and not {"", ".", ".."} & set(parts)
