"""`fusion cache push`: the stores of this cache into another one."""

from __future__ import annotations

import click

from fusion_pipeline.commands import inputs
from fusion_pipeline.commands.cache.copying import chooses_stores, copy_stores
from fusion_pipeline.commands.console import RESUMES, Console
from fusion_pipeline.commands.options import uses
from fusion_pipeline.config import Settings


@click.command()
@click.argument("place", metavar="TO")
@chooses_stores
@uses("data", "dataset", "cache", "single_writer", "expect_manifest", interrupted=RESUMES)
def push(
    place: str,
    names: tuple[str, ...],
    all_versions: bool,
    settings: Settings,
    console: Console,
) -> None:
    """Copy the stores of --cache into another cache.

    TO is a folder, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX. What is copied, and how, is as
    'fusion cache pull --help' says; --single-writer is about TO.

    \b
    Example:
      fusion cache push s3://team/features
    """
    from fusion_pipeline.store import Cache

    target = Cache(place, single_writer=settings.single_writer, given_as="as TO")
    copy_stores(settings, console, (inputs.opened_cache(settings), target), names, all_versions=all_versions)
