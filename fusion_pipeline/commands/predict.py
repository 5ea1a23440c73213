"""`fusion predict`: label, probabilities and gate weights of new images."""

from __future__ import annotations

import sys

import click

from fusion_pipeline.commands import exits, explanations, inputs
from fusion_pipeline.commands.console import Console
from fusion_pipeline.commands.lines import prediction_lines
from fusion_pipeline.commands.options import uses
from fusion_pipeline.config import Settings
from fusion_pipeline.errors import printable


@click.command()
@click.argument("model", type=click.Path())
@click.argument("images", nargs=-1, required=True, type=click.Path(), metavar="IMAGE...")
@click.option(
    "--explain",
    type=click.Path(),
    metavar="FILE.html",
    help="Also write a page with the photographs, what each expert says of them, and whom the gate trusts.",
)
@uses("weights", "device", "batch_size", "workers", "on_bad", "max_megapixels")
def predict(model: str, images: tuple[str, ...], explain: str | None, settings: Settings, console: Console) -> None:
    """Say what is on photographs, and which backbone the gate trusted.

    MODEL is the folder that 'fusion train' printed. The weights of its backbones are looked for where fusion.toml or
    --weights says, then where they were at extraction; they must be the very same files. With --on-bad skip,
    photographs that cannot be used are named in the text, not in the JSON document.

    \b
    Example:
      fusion predict runs/flowers17-embedding-1a2b3c4d/model rose.jpg tulip.jpg
      fusion predict runs/flowers17-embedding-1a2b3c4d/model rose.jpg tulip.jpg --explain why.html
    """
    predictor = inputs.load_predictor(settings, model)
    for note in predictor.notes:
        console.warn(note)
    predictions, bad = predictor.predict(images, console.progress, with_thumbnails=explain is not None)
    console.tell(prediction_lines(predictions, bad))
    if explain is not None:
        path = explanations.write_explanation(explain, predictions, predictor.notes, bad)
        console.say(f"explained: {printable(str(path))}")
    console.document([item.to_json() for item in predictions])
    if bad:
        sys.exit(exits.SKIPPED)
