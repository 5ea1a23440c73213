"""`fusion analyze`: from the runs of benchmarks to the measures and figures of Section 2."""

from __future__ import annotations

import click

from fusion_pipeline.commands import analyses
from fusion_pipeline.commands.console import Console
from fusion_pipeline.commands.options import uses
from fusion_pipeline.config import Settings


@click.command()
@click.argument("folders", nargs=-1, type=click.Path(), metavar="[RUN]...")
@click.option(
    "--out", type=click.Path(), metavar="DIR", help="Folder for the figures. [default: 'analysis' in the run]"
)
@click.option(
    "--row",
    metavar="NAME",
    help="The row that stands for the fused model, as the table calls it. [default: the first adaptive gate]",
)
@click.option(
    "--format",
    "ending",
    type=click.Choice(["svg", "png"]),
    default="svg",
    show_default=True,
    help="Of the figures.",
)
@uses("cache", "local_copy", "runs")
def analyze(settings: Settings, console: Console, **asked: object) -> None:
    """Say what the backbones know, each and together: the measures and figures of the paper's Section 2.

    Agreement of backbones, how many are right, classes that each knows best, classes won with and without the fused
    row, the two classes that are confused most, accuracy where backbones disagree; and whom the gate trusts, gain
    against cost, and calibration. All on what was predicted out of fold. Each figure has its numbers beside it as CSV.

    RUN is a folder that 'fusion benchmark' printed; without one it is the newest run of each data set in --runs.
    Several runs share the figures, a row each. Features and thumbnails come from the cache that the run was made from.

    \b
    Example:
      fusion analyze runs/flowers17-benchmark-1a2b3c4d
      fusion analyze runs/flowers17-benchmark-1a2b3c4d runs/pets-benchmark-5e6f7a8b --out figures --format png
      fusion analyze --row 'cnn64 + learned'
    """
    result = analyses.run(settings, analyses.Asked(**asked), console.warn)  # type: ignore[arg-type]
    console.tell(analyses.lines(result))
    console.document({**result.document, "folder": str(result.folder)})
