"""`fusion predict`: label, probabilities and gate weights of new images."""

from __future__ import annotations

import sys
from dataclasses import asdict

import click

from fusion_pipeline.commands import exits, inputs
from fusion_pipeline.commands.console import Console
from fusion_pipeline.commands.lines import prediction_lines
from fusion_pipeline.commands.options import uses
from fusion_pipeline.config import Settings


@click.command()
@click.argument("model", type=click.Path())
@click.argument("images", nargs=-1, required=True, type=click.Path(), metavar="IMAGE...")
@uses("weights", "device", "batch_size", "workers", "on_bad", "max_megapixels")
def predict(model: str, images: tuple[str, ...], settings: Settings, console: Console) -> None:
    """Say what is on photographs, and which backbone the gate trusted.

    MODEL is the folder that 'fusion train' printed. The weights of its backbones are looked for where fusion.toml or
    --weights says, then where they were at extraction; they must be the very same files. With --on-bad skip,
    photographs that cannot be used are named in the text, not in the JSON document.

    \b
    Example:
      fusion predict runs/flowers17-embedding-1a2b3c4d/model rose.jpg tulip.jpg
    """
    predictor = inputs.load_predictor(settings, model)
    for note in predictor.notes:
        console.warn(note)
    predictions, bad = predictor.predict(images, console.progress)
    console.tell(prediction_lines(predictions, bad))
    console.document([asdict(item) for item in predictions])
    if bad:
        sys.exit(exits.SKIPPED)
