"""`fusion cache pull`: the stores of another cache into this one."""

from __future__ import annotations

import click

from fusion_pipeline.commands import inputs
from fusion_pipeline.commands.cache.copying import chooses_stores, copy_stores
from fusion_pipeline.commands.console import RESUMES, Console
from fusion_pipeline.commands.options import uses
from fusion_pipeline.config import Settings


@click.command()
@click.argument("place", metavar="FROM")
@chooses_stores
@uses("data", "dataset", "cache", "single_writer", "expect_manifest", interrupted=RESUMES)
def pull(
    place: str,
    names: tuple[str, ...],
    all_versions: bool,
    settings: Settings,
    console: Console,
) -> None:
    """Copy the stores of another cache into --cache.

    FROM is a folder, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX. Copied are the current
    version of the images of every data set, or of the one that --data or --dataset names on the command line, and
    its backbones. Every file is compared with its manifest on its way, and a store appears in --cache as a whole or
    not at all. A store that is there already stays as it is, and a version of the images that is there already does
    not become the current one again. What a broken copy left is gone on with by the same command.

    \b
    Example:
      fusion cache pull s3://team/features --backbone xception,resnet50
    """
    from fusion_pipeline.store import Cache

    source = Cache(place, given_as="as FROM")
    copy_stores(settings, console, (source, inputs.opened_cache(settings)), names, all_versions=all_versions)
