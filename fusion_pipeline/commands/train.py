"""`fusion train`: from the cache to experts, a gate, scores and a model folder."""

from __future__ import annotations

import click

from fusion_pipeline.commands import inputs
from fusion_pipeline.commands.console import Console
from fusion_pipeline.commands.options import uses
from fusion_pipeline.config import Settings
from fusion_pipeline.errors import printable


@click.command()
@click.option(
    "--backbone",
    "names",
    multiple=True,
    metavar="NAME[,NAME...]",
    help="Backbones to fuse; repeats. [default: backbones of fusion.toml, else all in the cache]",
)
@click.option(
    "--index", metavar="KEY", help="Version of the images, as 'fusion cache ls' shows it. [default: last extracted]"
)
@uses("gate", "data", "dataset", "cache", "folds", "seed", "executor", "workers", "runs")
def train(names: tuple[str, ...], index: str | None, settings: Settings, console: Console) -> None:
    """Train experts and a gate from the cache, and score them by cross-validation.

    One expert (softmax regression) per backbone, its penalty chosen inside the training rows; the gate learns from
    out-of-fold predictions of the experts. The table shows each backbone, their average and the gate on the same
    images. The model fitted on all images lands in a folder that 'fusion predict' takes.

    \b
    Gates:
      average       the mean of the experts' probabilities
      constant      one learned weight per backbone
      stacking      softmax regression on the mean probabilities (Eq. 9)
      embedding     weights from all features of the image (Eq. 6)
      cnn32, cnn64  weights from the image's thumbnail (Eq. 5)

    \b
    Example:
      fusion train --data flowers17 --gate embedding
    """
    from fusion_pipeline.train.table import format_comparison, format_table

    with console.tasks() as progress:
        result = inputs.run_training(settings, names, index, progress)
    dataset = result.summary["dataset"]
    console.say(
        f"{dataset['name']}: {dataset['usable']:,} images, {dataset['classes']} classes, "
        f"{settings.folds}-fold cross-validation, seed {settings.seed}\n"
    )
    console.say(format_table(result.rows))
    console.say()
    for comparison in result.comparisons:
        console.say(format_comparison(comparison))
    averages = ", which averages: its gate learned nothing better" if result.found.classifier.fallback_ else ""
    console.say(f"model: {printable(str(result.model))}{averages}")
    console.document(result.summary)
