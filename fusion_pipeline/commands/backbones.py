"""`fusion backbones`: which backbones go by name, and which of them have weights at hand."""

from __future__ import annotations

import click

from fusion_pipeline.commands.console import Console
from fusion_pipeline.commands.options import uses
from fusion_pipeline.config import Settings


@click.command()
@uses()
def backbones(settings: Settings, console: Console) -> None:
    """List the backbones that go by a name: the built-in ones and those of fusion.toml.

    Any other model of timm or torchvision goes as timm:NAME or torchvision:NAME.

    \b
    Example:
      fusion backbones
    """
    from fusion_pipeline.extract.backbones import KNOWN, find_backbone

    names = sorted({*KNOWN, *settings.backbone})
    records = [find_backbone(name, settings.backbone) for name in names]
    for record in records:
        console.say(f"{record.name:<20} {record.model:<34} {record.weights or 'published by its library'}")
    console.document(
        {
            "backbones": [
                {"name": record.name, "model": record.model, "weights": record.weights, "arguments": record.arguments}
                for record in records
            ]
        }
    )
