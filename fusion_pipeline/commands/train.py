"""`fusion train`: from the cache to experts, a gate, scores and a model folder."""

from __future__ import annotations

import click

from fusion_pipeline.commands import inputs
from fusion_pipeline.commands.console import Console
from fusion_pipeline.commands.fusions import chosen_fusion, fusion_notes
from fusion_pipeline.commands.label_options import label_details
from fusion_pipeline.commands.lines import training_lines
from fusion_pipeline.commands.options import backbones_option, experts_option, index_option, uses
from fusion_pipeline.config import Settings


@click.command()
@backbones_option("Backbones to fuse; repeats. [default: backbones of fusion.toml, else all in the cache]")
@index_option
@experts_option("which the gate then trusts as it trusts the others.")
@click.option(
    "--label-embedding",
    type=click.Choice(["none", "learned", "glove"]),
    default="none",
    show_default=True,
    help="What experts see of the backbones' ImageNet probabilities, beside features (Eq. 8).",
)
@label_details
@click.option(
    "--readout",
    type=click.Choice(["gate", "mean", "softmax"]),
    help="How the gate 'embedding' ends: in a layer on top of the shared space, in Eq. 6 to the letter (mean), or in a "
    "softmax over the classes, without weights. [default: gate]",
)
@click.option("--in-sample", is_flag=True, help="Fit the gate 'stacking' in sample, as the paper may have: it leaks.")
@click.option("--joint", is_flag=True, help="Train experts and gate together (embedding, cnn32, cnn64).")
@uses(
    "gate", "data", "dataset", "cache", "local_copy", "folds", "seed", "executor", "workers", "runs", "expect_manifest"
)
def train(names: tuple[str, ...], index: str | None, settings: Settings, console: Console, **asked: object) -> None:
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
      fusion train --data flowers17 --gate average --experts singles,concat
      fusion train --data flowers17 --label-embedding glove --label-vectors glove.6B.300d.txt --label-top 1
      fusion train --data flowers17 --gate cnn32 --label-embedding learned --joint
      fusion train --data flowers17 --gate embedding --readout mean
      fusion train --data flowers17 --gate stacking --in-sample
    """
    fusion = chosen_fusion(settings.gate, **asked)  # type: ignore[arg-type]
    for note in fusion_notes(fusion):
        console.warn(note)
    with console.tasks() as progress:
        result = inputs.run_training(settings, names, index, progress, fusion)
    if len(result.found.classifier.experts_) == 1:
        console.warn("one backbone leaves nothing to fuse. Name another with --backbone to see what fusing gains.")
    console.tell(training_lines(result))
    console.document(result.summary)
