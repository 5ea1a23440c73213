"""`fusion train`: from the cache to experts, a gate, scores and a model folder."""

from __future__ import annotations

import click

from fusion_pipeline.commands import inputs
from fusion_pipeline.commands.console import Console
from fusion_pipeline.commands.lines import training_lines
from fusion_pipeline.commands.options import complete_backbones, uses
from fusion_pipeline.config import Settings


@click.command()
@click.option(
    "--backbone",
    "names",
    multiple=True,
    metavar="NAME[,NAME...]",
    shell_complete=complete_backbones,
    help="Backbones to fuse; repeats. [default: backbones of fusion.toml, else all in the cache]",
)
@click.option(
    "--index", metavar="KEY", help="Version of the images, as 'fusion cache ls' shows it. [default: last extracted]"
)
@uses(
    "gate", "data", "dataset", "cache", "local_copy", "folds", "seed", "executor", "workers", "runs", "expect_manifest"
)
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
    with console.tasks() as progress:
        result = inputs.run_training(settings, names, index, progress)
    if len(result.found.classifier.backbones_) == 1:
        console.warn("one backbone leaves nothing to fuse. Name another with --backbone to see what fusing gains.")
    console.tell(training_lines(result))
    console.document(result.summary)
