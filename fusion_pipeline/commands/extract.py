"""`fusion extract`: images into features, probabilities and thumbnails in the cache."""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import click

from fusion_pipeline.commands import exits, inputs
from fusion_pipeline.commands.console import RESUMES, Console
from fusion_pipeline.commands.estimates import estimate_lines, estimate_to_json
from fusion_pipeline.commands.lines import extraction_lines
from fusion_pipeline.commands.options import backbones_option, uses
from fusion_pipeline.config import Settings

if TYPE_CHECKING:
    from fusion_pipeline.extract.passes import StoreResult
    from fusion_pipeline.extract.run import Extraction
    from fusion_pipeline.images.listing import ImageListing


@click.command()
@backbones_option(
    "Backbone to run; repeats. 'all' is every configured one, 'paper' the paper's five. "
    "[default: backbones of fusion.toml]"
)
@click.option("--anew", is_flag=True, help="Begin beside what a stopped run left that was made otherwise.")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Say what there is and what would be computed, written and downloaded, and how long it takes by a few of the "
    "images; write and download nothing.",
)
@click.option("--download", is_flag=True, help="Fetch a data set that goes by name, if there is no copy of it.")
@uses(
    "data",
    "data_home",
    "dataset",
    "cache",
    "single_writer",
    "weights",
    "device",
    "dtype",
    "engine",
    "precision",
    "batch_size",
    "workers",
    "decode_in",
    "scheduler",
    "tls_ca",
    "tls_cert",
    "tls_key",
    "insecure",
    "resources",
    "partition_rows",
    "on_bad",
    "max_megapixels",
    "follow_symlinks",
    interrupted=RESUMES,
)
def extract(
    names: tuple[str, ...], anew: bool, dry_run: bool, download: bool, settings: Settings, console: Console
) -> None:
    """Run frozen backbones once over labelled images.

    Writes each backbone's features and ImageNet probabilities, and the images' thumbnails, into the cache. What the
    cache holds already is found, not computed again, and a run that was stopped is resumed by the same command.
    Every image file is opened once, whatever the number of backbones.

    The images are a folder with one folder per class; a CSV, TSV or Parquet manifest with the columns path, label and,
    if wanted, split and group; a tar file, or a folder of them, with members class/name.jpg or with labels beside the
    images as in WebDataset; or one of the paper's data sets by name, in its official layout.

    \b
    Example:
      fusion extract --data flowers17 --backbone xception,resnet50
      fusion extract --data flowers17 --download --backbone paper
      fusion extract --data photographs.csv --backbone xception
      fusion extract --data flowers17 --backbone paper --dry-run
    """
    folder = inputs.image_folder(settings, console.note if download and not dry_run else None)
    if folder.ignored:
        console.say(f"Passed over {len(folder.ignored):,} files that are not images.")
    if dry_run:
        _tell_estimate(names, folder, anew, settings, console)
        return
    result = inputs.run_extraction(settings, folder, names, console.progress, console.note, anew=anew)
    console.tell(extraction_lines(result))
    console.document(_to_json(result))
    if result.bad:
        sys.exit(exits.SKIPPED)


def _tell_estimate(
    names: tuple[str, ...], folder: ImageListing, anew: bool, settings: Settings, console: Console
) -> None:
    home = inputs.opened_cache(replace(settings, local_copy=None))  # a copy of what is read would be written
    found = inputs.run_estimate(settings, folder, home, names, anew=anew)
    console.tell(estimate_lines(found, folder, home, on_bad=settings.on_bad, scheduler=settings.scheduler))
    console.document(estimate_to_json(found, folder, home, settings.scheduler))


def _to_json(result: Extraction) -> dict[str, Any]:
    return {
        "index": _store_to_json(result.index),
        "stores": [_store_to_json(item) for item in result.backbones],
        "opens": result.opens,
        "seconds": result.seconds,
        "images_per_second": result.images_per_second,
        "stages": {stage: asdict(found) for stage, found in result.verdict.stages.items()},
        "limits": result.verdict.limits,
        "share_of_limit": result.verdict.share_of_limit,
        "slowest": result.verdict.slowest,
        "verdict": result.verdict.text,
    }


def _store_to_json(item: StoreResult) -> dict[str, Any]:
    return {
        "dataset": item.store.dataset,
        "folder": item.store.folder,
        "backbone": item.store.name,
        "key": item.store.manifest.key,
        "manifest": item.store.manifest_digest,
        "content": item.store.manifest.content,
        "path": item.store.location,
        "rows": item.store.rows,
        "computed": item.computed,
        "reused": item.reused,
        "overtaken": item.overtaken,
        "bad": [{"sample": sample, "reason": reason.text} for sample, reason in item.bad.items()],
    }
