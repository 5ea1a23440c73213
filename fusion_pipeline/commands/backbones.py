"""`fusion backbones`: which backbones there are, what they are, and which of them have weights at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from fusion_pipeline.commands import inputs
from fusion_pipeline.commands.console import Console
from fusion_pipeline.commands.lines import backbone_lines
from fusion_pipeline.commands.options import uses
from fusion_pipeline.config import Settings

if TYPE_CHECKING:
    from fusion_pipeline.errors import FusionError
    from fusion_pipeline.extract.backbones import Backbone
    from fusion_pipeline.extract.catalogue import Entry

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
    downloaded.

    \b
    Example:
      fusion backbones
      fusion backbones dinov2
      fusion backbones 'timm:convnext*in1k' --all
    """
    records = inputs.listed_backbones(settings, pattern)
    shown = records if everything else records[:_SHOWN]
    from fusion_pipeline.extract.catalogue import try_describe

    entries = [(record, try_describe(record)) for record in shown]
    console.tell(backbone_lines(entries))
    if len(records) > len(shown):
        console.say(f"and {len(records) - len(shown):,} more: --all shows them")
    console.document(
        {"backbones": [_to_json(record, entry) for record, entry in entries], "more": len(records) - len(shown)}
    )


def _to_json(record: Backbone, entry: Entry | FusionError) -> dict[str, Any]:
    from fusion_pipeline.extract.catalogue import Entry

    found = entry if isinstance(entry, Entry) else None
    return {
        "name": record.name,
        "model": record.model,
        "weights": record.weights,
        "arguments": dict(record.arguments),
        "parameters": found and found.parameters,
        "features": found and found.n_features,
        "input_size": found and found.input_size,
        "classes": found and found.n_classes,
        "at_hand": str(found.at_hand) if found and found.at_hand else None,
        "url": found and found.url,
        "problem": None if found else str(entry),
    }
