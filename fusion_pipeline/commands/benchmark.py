"""`fusion benchmark`: every row of the table on one data set, from the cache."""

from __future__ import annotations

import click

from fusion_pipeline.commands import benchmarks
from fusion_pipeline.commands.console import Console
from fusion_pipeline.commands.label_options import label_details
from fusion_pipeline.commands.options import backbones_option, experts_option, index_option, uses
from fusion_pipeline.config import Settings


@click.command()
@backbones_option("Backbones to compare and fuse; repeats. [default: backbones of fusion.toml, else all in the cache]")
@index_option
@click.option(
    "--row",
    "wanted",
    multiple=True,
    metavar="PATTERN",
    help="Only these rows, such as 'concat-*' or 'embedding'; repeats. [default: all]",
)
@click.option("--repeats", type=click.IntRange(1), default=1, show_default=True, help="Cross-validations, other seeds.")
@click.option("--holdout", metavar="SHARE", default="", help="Test this share once, such as 0.5, instead of folds.")
@click.option(
    "--groups",
    type=click.Choice(["duplicates", "none", "column"]),
    default="duplicates",
    show_default=True,
    help="What stays on one side of every split: near-duplicates, nothing, or these and the manifest's column 'group'.",
)
@click.option(
    "--mode",
    type=click.Choice(["both", "tuned", "paper"]),
    default="both",
    show_default=True,
    help="Concatenations as the paper has them, tuned, or both.",
)
@experts_option("in further rows of the plain fusions and gates.")
@click.option(
    "--label-embedding",
    "embeddings",
    type=click.Choice(["learned", "glove", "none"]),
    multiple=True,
    help="Label embeddings of the rows that have one; repeats. [default: both, as far as word vectors are at hand]",
)
@label_details
@click.option(
    "--readout",
    "readouts",
    type=click.Choice(["mean", "softmax"]),
    multiple=True,
    help="A further row of the gate 'embedding': Eq. 6 to the letter, or a softmax over the classes; repeats.",
)
@click.option("--in-sample", is_flag=True, help="A further row of stacking, fitted in sample: it leaks, and says so.")
@click.option(
    "--transductive",
    is_flag=True,
    help="A further row of concat-pca-svm, its components fitted on test rows too: it leaks, and says so.",
)
@uses(
    "data",
    "dataset",
    "cache",
    "local_copy",
    "folds",
    "seed",
    "executor",
    "workers",
    "scheduler",
    "tls_ca",
    "tls_cert",
    "tls_key",
    "insecure",
    "resources",
    "runs",
    "expect_manifest",
)
def benchmark(settings: Settings, console: Console, **asked: object) -> None:
    """Score every row of the paper's Table 2, and those that it leaves out, on the same folds.

    Each backbone, three concatenations, plain averages, stacking, and the gates without and with label embeddings, with
    intervals, comparisons that count repeats honestly, and the gain taken apart, beside the paper's numbers. All that
    learns from experts learns from out-of-fold predictions; a record of who saw which rows is kept and checked. What is
    finished is kept too: the same command goes on where it stopped.

    \b
    Example:
      fusion benchmark --data flowers17 --repeats 5
      fusion benchmark --data flowers17 --experts singles,concat --row 'concat-*' --row 'average*'
      fusion benchmark --data flowers17 --transductive --in-sample --readout mean
      fusion benchmark --data flowers17 --label-embedding glove --label-vectors glove.6B.300d.txt --fine-tune-labels
    """
    with console.tasks() as progress:
        found = benchmarks.run(settings, benchmarks.Asked(**asked), progress, console.warn)  # type: ignore[arg-type]
    console.tell(benchmarks.lines(found))
    console.document(found.summary)
