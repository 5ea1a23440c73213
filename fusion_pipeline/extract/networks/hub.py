"""A backbone whose weights a library publishes into the file of them on this machine, downloaded if need be."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from fusion_pipeline.errors import FusionError, IncompleteError, RefusedError, UsageError, printable
from fusion_pipeline.extract.networks.backbones import Backbone
from fusion_pipeline.extract.networks.models import timm_config, torchvision_weights
from fusion_pipeline.extract.networks.stated import StatedHash, hash_in_link, hash_in_name, refuse_other_bytes

PREFIX = "hub:"

_SAFE = "model.safetensors"
_PICKLED = "pytorch_model.bin"
_SAFE_NAMES = {_PICKLED: _SAFE, "open_clip_pytorch_model.bin": "open_clip_model.safetensors"}
_MAIN = "main"
_SECONDS = 10.0


class PublishedFile(Protocol):
    """One file that somebody publishes."""

    @property
    def url(self) -> str:
        """Where it can be had."""
        ...

    def at_hand(self) -> Path | None:
        """Return where it is on this machine, or None; asks no network."""
        ...

    def fetch(self) -> Path | None:
        """Download it; None if there is no such file."""
        ...

    def stated(self, path: Path) -> StatedHash | None:
        """Return the hash that is stated where it lies on this machine."""
        ...


@dataclass(frozen=True)
class HubFile:
    """A file of a repository of the Hugging Face hub.

    Parameters
    ----------
    repository : str
        ``"owner/name"``.
    file : str
        Its name in the repository.
    revision : str
        A commit, or a branch.

    Examples
    --------
    >>> str(HubFile("timm/resnet50.tv_in1k", "model.safetensors", "0a1b"))
    'hub:timm/resnet50.tv_in1k@0a1b/model.safetensors'
    """

    repository: str
    file: str
    revision: str = _MAIN

    def __str__(self) -> str:
        return f"{PREFIX}{self.repository}@{self.revision}/{self.file}"

    @property
    def url(self) -> str:
        """Where it can be had."""
        from huggingface_hub import hf_hub_url  # noqa: PLC0415 - little needs it

        return str(hf_hub_url(self.repository, self.file, revision=self.revision))

    def at_hand(self) -> Path | None:
        """Return where the hub's cache has it, or None; asks no network."""
        from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415 - little needs it

        found = try_to_load_from_cache(self.repository, self.file, revision=self.revision)
        return Path(found) if isinstance(found, str) else None

    def fetch(self) -> Path | None:
        """Download it into the hub's cache; None if the repository has no such file."""
        from huggingface_hub import get_hf_file_metadata, hf_hub_download  # noqa: PLC0415 - only a download needs it
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError  # noqa: PLC0415

        # Each retry would be a line of its own before ours.
        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
        try:
            # Asked first: a hub out of reach is known at once, where the download would retry for half a minute.
            get_hf_file_metadata(self.url, timeout=_SECONDS)
            return Path(hf_hub_download(self.repository, self.file, revision=self.revision))
        except LocalEntryNotFoundError:  # is an EntryNotFoundError too, and means: no network, and not in the cache
            raise
        except EntryNotFoundError:
            return None

    def stated(self, path: Path) -> StatedHash | None:
        """Return the hash by which the hub's cache keeps it."""
        return hash_in_link(path)


@dataclass(frozen=True)
class UrlFile:
    """A file behind a plain address; torch's own hub folder keeps it, and its name states its hash.

    Parameters
    ----------
    url : str
        The address.
    """

    url: str

    def at_hand(self) -> Path | None:
        """Return where torch's hub folder has it, or None; asks no network."""
        return self._path if self._path.is_file() else None

    def fetch(self) -> Path:
        """Download it into torch's hub folder.

        Raises
        ------
        RefusedError
            If what comes has another hash than its name states.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        stated = self.stated(self._path)
        try:
            torch.hub.download_url_to_file(self.url, str(self._path), hash_prefix=stated.digits if stated else None)
        except RuntimeError as error:  # what torch raises for another hash, and for nothing else
            raise RefusedError(
                f"What came from {printable(self.url)} is not what its name states ({printable(_first_words(error))}). "
                "Try again, or get the file elsewhere and give it with --weights."
            ) from None
        return self._path

    def stated(self, path: Path) -> StatedHash | None:
        """Return the hash in its name."""
        return hash_in_name(path.name)

    @property
    def _path(self) -> Path:
        return Path(torch.hub.get_dir()) / "checkpoints" / self.url.rsplit("/", 1)[1]


def published_files(backbone: Backbone) -> tuple[PublishedFile, ...]:
    """Return the files of a backbone's published weights, the best first; empty if nobody publishes any.

    Parameters
    ----------
    backbone : Backbone
        Its record, whose ``weights`` are None or ``"hub:OWNER/NAME[@REVISION]/FILE"``.

    Raises
    ------
    UsageError
        If its ``weights`` are not written so, or its library does not know the model.

    Examples
    --------
    >>> [file.url for file in published_files(Backbone("x", "torchvision:resnet18"))]
    ['https://download.pytorch.org/models/resnet18-f37072fd.pth']
    >>> str(published_files(Backbone("x", "timm:resnet18", weights="hub:me/mine@0a1b/w.safetensors"))[0])
    'hub:me/mine@0a1b/w.safetensors'
    """
    if backbone.weights is not None:
        return (_parse(backbone, backbone.weights),)
    if backbone.library == "torchvision":
        return (UrlFile(torchvision_weights(backbone).url),)
    config = timm_config(backbone)
    if config.hf_hub_id:
        repository, _, revision = str(config.hf_hub_id).partition("@")
        # Tensors alone before a pickle, which torch then has to be kept from running.
        name = config.hf_hub_filename or _PICKLED
        names = dict.fromkeys([_SAFE_NAMES.get(name, name), name])
        return tuple(HubFile(repository, name, revision or _MAIN) for name in names)
    return (UrlFile(str(config.url)),) if config.url else ()


def needed_files(backbone: Backbone) -> tuple[PublishedFile, ...]:
    """Return the files of a backbone's published weights, the best first.

    Raises
    ------
    UsageError
        See `published_files`.
    IncompleteError
        If nobody publishes any.
    """
    files = published_files(backbone)
    if not files:
        raise IncompleteError(
            f"{backbone.library} publishes no weights for '{printable(backbone.model_name)}' of backbone "
            f"'{printable(backbone.name)}'. Give a file with --weights, or in fusion.toml."
        )
    return files


def find_published(backbone: Backbone) -> Path | None:
    """Return the file of a backbone's published weights that is on this machine, or None; asks no network.

    Raises
    ------
    UsageError
        See `published_files`.
    """
    return next((path for file in published_files(backbone) if (path := file.at_hand()) is not None), None)


def fetch_published(backbone: Backbone) -> Path:
    """Return the file of a backbone's published weights: the one at hand, or else downloaded.

    Raises
    ------
    UsageError
        See `published_files`.
    IncompleteError
        If nobody publishes any, or they cannot be had now; the message says which file to get.
    RefusedError
        If what comes is another file than was asked for.
    """
    files = needed_files(backbone)
    if (found := find_published(backbone)) is not None:
        return found
    try:
        fetched = next((path for file in files if (path := file.fetch()) is not None), None)
    except FusionError:
        raise
    except Exception as error:  # the hubs raise whatever their transport raises
        raise _out_of_reach(backbone, files, _first_words(error)) from None
    if fetched is None:
        raise _out_of_reach(backbone, files, "there is no such file")
    return fetched


def refuse_unlike_published(backbone: Backbone, path: Path, sha256: str) -> None:
    """Refuse a file of published weights that is not what its name states.

    Parameters
    ----------
    backbone : Backbone
        Whose published weights it is taken for.
    path : Path
        Where `fetch_published` found it.
    sha256 : str
        What it is, as `file_sha256` returns it.

    Raises
    ------
    RefusedError
        If it is something else than it is kept as.
    """
    refuse_other_bytes(path, published_files(backbone)[0].stated(path), sha256)


def pinned(path: Path) -> HubFile | None:
    """Return which file of the hub, at which commit, a file in the hub's cache is; None for another file.

    Examples
    --------
    >>> str(pinned(Path("/home/me/.cache/huggingface/hub/models--timm--resnet18.a1_in1k/snapshots/0a1b/w.safetensors")))
    'hub:timm/resnet18.a1_in1k@0a1b/w.safetensors'
    >>> pinned(Path("weights/resnet18.safetensors"))
    """
    match = re.search(r"/models--([^/]+)--([^/]+)/snapshots/([0-9a-f]+)/(.+)$", path.as_posix())
    return HubFile(f"{match[1]}/{match[2]}", match[4], match[3]) if match else None


def _parse(backbone: Backbone, weights: str) -> HubFile:
    match = re.fullmatch(r"hub:([^/@\s]+/[^/@\s]+)(?:@([^/@\s]+))?/(\S+)", weights)
    if match is None or ".." in weights:
        raise UsageError(
            f"Weights of backbone '{printable(backbone.name)}' are '{printable(weights)}'. "
            "Write hub:OWNER/NAME@REVISION/FILE."
        )
    return HubFile(match[1], match[3], match[2] or _MAIN)


def _out_of_reach(backbone: Backbone, files: Sequence[PublishedFile], reason: str) -> IncompleteError:
    return IncompleteError(
        f"Weights of backbone '{printable(backbone.name)}' ({printable(backbone.model)}) are not at hand, and could "
        f"not be downloaded: {printable(reason)}. Get {printable(files[0].url)} where there is a network, and give it "
        "with --weights FILE, or in fusion.toml."
    )


def _first_words(error: Any) -> str:
    return str(error).strip().split("\n")[0][:120].rstrip(". ") or type(error).__name__
