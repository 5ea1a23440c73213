"""`fusion cache migrate`: a copy of a cache in the current format."""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Any

import click

from fusion_pipeline.commands import inputs
from fusion_pipeline.commands.console import RESUMES, Console
from fusion_pipeline.commands.lines import in_a_column
from fusion_pipeline.commands.options import uses
from fusion_pipeline.config import Settings
from fusion_pipeline.errors import IncompleteError, printable

if TYPE_CHECKING:
    from fusion_pipeline.store.care.migrate import Migrated


@click.command()
@click.argument("names", nargs=-1, metavar="[DATASET]...")
@click.option("--to", "place", required=True, type=click.Path(), metavar="DIR|URL", help="The cache to copy into.")
@uses("cache", "single_writer", interrupted=RESUMES)
def migrate(names: tuple[str, ...], place: str, settings: Settings, console: Console) -> None:
    """Copy a cache into another one, in the current format.

    Stores of every version of the images are copied, of all data sets or of those that are named. The files of a store
    stay what they are, byte for byte; an older manifest is written anew, with what newer versions need. Every file is
    checked on its way. --cache is only read. A store that is there already stays as it is, a damaged one is named and
    left out, and what a broken copy left is gone on with by the same command.

    \b
    Example:
      fusion cache migrate --cache /mnt/old/features --to s3://team/features
    """
    from fusion_pipeline.store import Cache
    from fusion_pipeline.store.care.migrate import migrate as copy_all

    source = inputs.opened_cache(settings)
    target = Cache(place, single_writer=settings.single_writer, given_as="with --to")
    done = []
    chosen = inputs.named_datasets(source, names)
    places = [f"{name}/{folder}" for name in chosen or source for folder in source.backend.entries(name).folders]
    shown = dict(zip(places, in_a_column(places), strict=True))
    for item in copy_all(source, target, chosen, functools.partial(console.progress, unit="B")):
        done.append(item)
        place = f"{item.dataset}/{item.folder}"
        _tell(item, shown.get(place, printable(place)), console)
    if not done:
        raise IncompleteError(f"There is no store to copy in '{printable(source.location)}'. Check --cache.")
    copied = sum(item.arrived.copied for item in done if item.arrived is not None)
    console.say(f"{copied / 1e6:,.1f} MB copied from {printable(source.location)} to {printable(target.location)}")
    console.document({"stores": [_to_json(item) for item in done], "bytes": copied})
    failures = [item.error for item in done if item.error is not None]
    if failures:
        sys.exit(failures[0].exit_code)


def _tell(item: Migrated, name: str, console: Console) -> None:
    if item.arrived is None:
        console.warn(f"'{printable(item.dataset)}/{printable(item.folder)}' was left out. {item.error}")
        return
    store = item.arrived.store
    size = f"{store.n_bytes / 1e6:,.1f} MB"
    other = "" if store.manifest.content == item.arrived.source.manifest.content else "  made by others, of other bytes"
    console.say(f"{item.arrived.state:<13} {name} {store.rows:>9,} rows {size:>13}{other}")


def _to_json(item: Migrated) -> dict[str, Any]:
    from fusion_pipeline.store.care.migrate import MIGRATED_FROM

    told: dict[str, Any] = {"dataset": item.dataset, "folder": item.folder}
    if item.arrived is None:
        return {**told, "state": "left out", "error": str(item.error)}
    store = item.arrived.store
    return {
        **told,
        "backbone": store.name,
        "key": store.manifest.key,
        "content": store.manifest.content,
        "manifest": store.manifest_digest,
        "migrated_from": store.manifest.made.get(MIGRATED_FROM),
        "rows": store.rows,
        "state": item.arrived.state,
        "bytes": item.arrived.copied,
        "path": store.location,
    }
