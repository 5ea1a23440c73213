"""`fusion backbones`: which backbones there are, what they are, and which of them have weights at hand."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from fusion_pipeline.commands import shelf
from fusion_pipeline.commands.console import Console
from fusion_pipeline.commands.lines import backbone_lines
from fusion_pipeline.commands.options import uses
from fusion_pipeline.config import Settings

if TYPE_CHECKING:
    from fusion_pipeline.extract.networks.catalogue import Row

_SHOWN = 20


@click.command()
@click.argument("pattern", required=False)
@click.option("--all", "everything", is_flag=True, help=f"Show all that match, not the first {_SHOWN}.")
@uses("weights")
def backbones(pattern: str | None, everything: bool, settings: Settings, console: Console) -> None:
    """List the backbones that go by a name, or search those of timm and torchvision.

    Without PATTERN these are the built-in ones and those of fusion.toml. PATTERN is a part of a name, or a whole name
    with * and ?. Each line tells the name to give to --backbone, the number of parameters, the length of the feature
    vector, the side of the input in pixels, the classes of the ImageNet head, and where the weights are. Nothing is
    downloaded or read: whether a file is what its name states shows when it is used.

    \b
    Example:
      fusion backbones
      fusion backbones dinov2
      fusion backbones 'timm:convnext*in1k' --all
    """
    records = shelf.listed_backbones(settings, pattern)
    shown = records if everything else dict(islice(records.items(), _SHOWN))
    from fusion_pipeline.extract.networks.catalogue import describe_all

    rows, more = describe_all(shown), len(records) - len(shown)
    console.tell(backbone_lines(rows))
    if more:
        console.say(f"and {more:,} more: --all shows them")
    console.document({"backbones": [_to_json(row) for row in rows], "more": more})


def _to_json(row: Row) -> dict[str, Any]:
    from fusion_pipeline.extract.networks.catalogue import Entry

    record, found = row.backbone, row.found if isinstance(row.found, Entry) else None
    return {
        "name": row.name,
        "model": record and record.model,
        "weights": record and record.weights,
        "arguments": dict(record.arguments) if record else {},
        "parameters": found and found.parameters,
        "features": found and found.n_features,
        "input_size": found and found.input_size,
        "classes": found and found.n_classes,
        "at_hand": str(found.at_hand) if found and found.at_hand else None,
        "url": found and found.url,
        "problem": None if found else str(row.found),
    }
