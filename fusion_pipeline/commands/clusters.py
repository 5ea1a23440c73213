"""Settings into a connection with a Dask cluster."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fusion_pipeline.config import Settings
from fusion_pipeline.errors import IncompleteError, UsageError, printable

if TYPE_CHECKING:
    from fusion_pipeline.cluster import Cluster

_OF_A_CLUSTER = frozenset({"tls_ca", "tls_cert", "tls_key", "insecure", "resources"})


def refuse_without_scheduler(settings: Settings) -> None:
    """Refuse options that only a cluster has a use for; in fusion.toml they may stand for the runs that have one."""
    useless = sorted(settings.given & _OF_A_CLUSTER)
    if useless:
        named = ", ".join(f"--{key.replace('_', '-')}" for key in useless)
        raise UsageError(f"Without --scheduler there is nothing that {named} could apply to. Give --scheduler as well.")


def opened_cluster(settings: Settings, address: str) -> Cluster:
    """Return the Dask cluster that the settings name."""
    from fusion_pipeline.cluster import Cluster, Tls

    named = _cluster_files(settings)
    resources = dict(map(_resource, settings.resources))
    return Cluster(address, tls=Tls(*named) if named else None, insecure=settings.insecure, resources=resources)


def check_cluster(settings: Settings, address: str) -> None:
    """Refuse what `opened_cluster` would refuse, without a connection."""
    from fusion_pipeline.cluster import check_address

    named, _ = _cluster_files(settings), [_resource(text) for text in settings.resources]
    check_address(address, has_tls=bool(named), insecure=settings.insecure)


def _cluster_files(settings: Settings) -> list[str]:
    """Return the files that a TLS connection needs: all three, or none."""
    files = [settings.tls_ca, settings.tls_cert, settings.tls_key]
    named = [os.path.expanduser(file) for file in files if file is not None]
    if 0 < len(named) < len(files):
        raise UsageError("--tls-ca, --tls-cert and --tls-key go together: give all three.")
    for file in named:
        if not os.path.isfile(file):
            raise IncompleteError(f"There is no file '{printable(file)}'. Check --tls-ca, --tls-cert and --tls-key.")
    return named


def _resource(text: str) -> tuple[str, float]:
    name, _, amount = text.partition("=")
    try:
        return name, float(amount)
    except ValueError:
        raise UsageError(f"--resources '{printable(text)}' is none. Give NAME=N, such as GPU=1.") from None
