"""`fusion report`: one self-contained HTML page of a benchmark's run."""

from __future__ import annotations

from pathlib import Path

import click

from fusion_pipeline.commands import analyses
from fusion_pipeline.commands.console import Console
from fusion_pipeline.commands.options import uses
from fusion_pipeline.config import Settings


@click.command()
@click.argument("run", type=click.Path(), metavar="RUN")
@click.option("--out", type=click.Path(), metavar="FILE.html", help="The page. [default: report.html in RUN]")
@click.option("--row", metavar="NAME", help="The fused row to look at, as the table calls it. [default: a gate]")
@click.option(
    "--images",
    type=click.IntRange(0),
    metavar="N",
    default=1500,
    show_default=True,
    help="Images on the page at most: first the errors that fusing mended or made.",
)
@uses("cache", "local_copy")
def report(run: str, out: str | None, row: str | None, images: int, settings: Settings, console: Console) -> None:
    """Write what a benchmark found as one HTML page, to be sent to a colleague.

    RUN is the folder that 'fusion benchmark' printed. The page says which backbone is best, what fusing gains, whether
    that is sure and what it costs; it has the table, the figures of 'fusion analyze', and the images with the gate's
    weights, to be searched and filtered. It needs no network and no other file. The images are taken from the cache
    that the run was made from, or from --cache.

    \b
    Example:
      fusion report runs/flowers17-benchmark-1a2b3c4d
      fusion report runs/flowers17-benchmark-1a2b3c4d --row stacking --images 500 --out stacking.html
    """
    from fusion_pipeline.analysis.kept_run import KeptRun
    from fusion_pipeline.analysis.measures import measure
    from fusion_pipeline.analysis.report.names import as_text
    from fusion_pipeline.analysis.report.report import make_report
    from fusion_pipeline.analysis.report.writing import write_page
    from fusion_pipeline.errors import printable

    kept = KeptRun.open(run)
    stores = kept.stores(settings.cache if "cache" in settings.given else None, settings.local_copy)
    multiply_adds = analyses.known_costs(kept, console.warn)
    measures = measure(kept, row, stores, multiply_adds)
    for note in measures.notes:
        console.warn(note)
    made = make_report(measures, stores, multiply_adds, images)
    path = write_page(Path(run) / "report.html" if out is None else Path(out), made.html)
    console.tell(map(as_text, made.answer.sentences))
    console.say(f"report: {printable(str(path))}")
    console.document(made.to_json(path))
