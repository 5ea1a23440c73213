"""An extraction into what its workers are told, and what each of their calls tells back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fusion_pipeline import __version__
from fusion_pipeline.extract.meter import Meter
from fusion_pipeline.extract.networks.backbones import Backbone
from fusion_pipeline.extract.options import Options
from fusion_pipeline.images.decode import Reason
from fusion_pipeline.images.listing import ImageListing


@dataclass(frozen=True)
class Assignment:
    """What every worker is to make.

    Parameters
    ----------
    folder : ImageListing
        The images, at a path that all workers have.
    backbones : tuple of Backbone
        With weights at paths that all workers have.
    cache : str
        At a place that all workers have.
    options : Options
    wanted : mapping of str to dict
        The recipe of each store that is not published yet, by its name.
    worth_compiling : mapping of str to bool
        Whether the whole work is long enough to compile the network, by the name of the store: a worker with another
        number of threads would find otherwise.
    token : str
        Of the extraction.
    version : str
        Of this program.
    """

    folder: ImageListing
    backbones: tuple[Backbone, ...]
    cache: str
    options: Options
    wanted: Mapping[str, Mapping[str, Any]]
    worth_compiling: Mapping[str, bool]
    token: str
    version: str = __version__


@dataclass(frozen=True)
class Maker:
    """Who makes partitions.

    Parameters
    ----------
    name : str
        Machine and process, for people.
    device : str
        ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
    decoders : int
        Threads or processes that decode images.
    readers : int
        Threads that read them.
    """

    name: str
    device: str
    decoders: int
    readers: int


@dataclass(frozen=True)
class Done:
    """What one call did.

    Parameters
    ----------
    sha256 : tuple of str
        Of the partition's images.
    bad : mapping of int to Reason
        Its rows without an image.
    computed : mapping of str to int
        Rows that were computed, by the name of the store.
    measured : mapping of str to mapping
        What was measured of the device that computed them, by the name of the store.
    meter : Meter
        What the call cost.
    maker : Maker
        Who made it.
    """

    sha256: tuple[str, ...]
    bad: Mapping[int, Reason]
    computed: Mapping[str, int]
    measured: Mapping[str, Mapping[str, float]]
    meter: Meter
    maker: Maker
