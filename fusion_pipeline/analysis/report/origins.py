"""A kept run becomes the facts by which somebody else can make it again: manifests, protocol, seeds, versions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fusion_pipeline import __version__
from fusion_pipeline.analysis.kept_run import KeptRun
from fusion_pipeline.analysis.report.costs import Costs

_GROUPINGS = {
    "none": "none: every image for itself",
    "duplicates": "near-duplicates stay on one side of every split",
    "column": "near-duplicates, and what the column 'group' names, stay on one side of every split",
}


@dataclass(frozen=True)
class Fact:
    """One thing to know of how a run was made.

    Attributes
    ----------
    about : str
    value : str
    is_digest : bool
        Whether it is for machines to compare rather than for people to read.
    """

    about: str
    value: str
    is_digest: bool = False


@dataclass(frozen=True)
class Origins:
    """Where a run comes from.

    Attributes
    ----------
    facts : tuple of Fact
        Of the data set, the protocol and the versions.
    backbones : mapping of str to tuple of Fact
        Of each backbone, by name.
    """

    facts: tuple[Fact, ...]
    backbones: Mapping[str, tuple[Fact, ...]]


def origins_of(run: KeptRun, costs: Costs) -> Origins:
    """Return where a run comes from; no path of the machine that it ran on is among it."""
    facts = (*_of_images(run), *_of_protocol(run.summary["protocol"]), *_of_versions(costs))
    backbones = {name: tuple(_of_backbone(entry)) for name, entry in run.summary["backbones"].items()}
    return Origins(facts, backbones)


def _of_images(run: KeptRun) -> Iterator[Fact]:
    dataset = run.summary["dataset"]
    yield Fact("Data set", run.dataset)
    yield Fact(
        "Images",
        f"{dataset['images']:,}, of which {dataset['usable']:,} can be used, in {dataset['classes']:,} classes",
    )
    yield Fact("Digest of the images", dataset["digest"], is_digest=True)
    yield Fact("Index", dataset["index"], is_digest=True)
    yield Fact("Digest of all predictions", run.summary["predictions"], is_digest=True)


def _of_protocol(protocol: Mapping[str, Any]) -> Iterator[Fact]:
    cut = f"holdout of {protocol['holdout']}" if "holdout" in protocol else f"{protocol['folds']}-fold cross-validation"
    repeats = protocol["repeats"]
    yield Fact("Protocol", f"stratified {cut}, {'once' if repeats == 1 else f'{repeats} times'}")
    yield Fact("Groups", _GROUPINGS.get(protocol["groups"], protocol["groups"]))
    yield Fact("Seeds", f"{protocol['split_seed']} for the splits, {protocol['seed']} for the rest")
    for kind, choice in protocol["label_embeddings"].items():
        told = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in choice.items())
        yield Fact(f"Label embedding {kind}", told or "as it comes")


def _of_versions(costs: Costs) -> Iterator[Fact]:
    if costs.versions:
        told = ", ".join(f"{name} {version}" for name, version in sorted(costs.versions.items()))
        yield Fact("Versions of the run", told)
    yield Fact("Version of the report", f"fusion-pipeline {__version__}")


def _of_backbone(entry: Mapping[str, Any]) -> Iterator[Fact]:
    identity = entry["identity"]
    network = identity.get("backbone", {})
    if network:
        yield Fact("Network", f"{network['library']}:{network['architecture']}")
        yield Fact("Features", f"{network.get('tap', '')}, as {identity.get('dtype', '')}".removeprefix(", "))
    for about, value in (
        ("Weights", identity.get("weights")),
        ("Store", entry["key"]),
        ("Manifest", entry["manifest"]),
    ):
        if value is not None:
            yield Fact(about, str(value), is_digest=True)
