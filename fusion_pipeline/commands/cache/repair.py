"""`fusion cache repair`: damaged stores whole again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from fusion_pipeline.commands import inputs
from fusion_pipeline.commands.console import RESUMES, Console
from fusion_pipeline.commands.options import uses
from fusion_pipeline.config import Settings
from fusion_pipeline.errors import printable

if TYPE_CHECKING:
    from fusion_pipeline.extract.repair import Repair, Repaired, Unrepaired


@click.command()
@click.option(
    "--semantic",
    is_flag=True,
    help="Also compute anew what 'fusion cache verify --semantic' names: wrong rows in files that are whole.",
)
@uses(
    "data",
    "data_home",
    "dataset",
    "cache",
    "single_writer",
    "weights",
    "device",
    "workers",
    "follow_symlinks",
    interrupted=RESUMES,
)
def repair(semantic: bool, settings: Settings, console: Console) -> None:
    """Make damaged stores whole again.

    Reads every file. Damaged and lost manifests are restored from their second copies, which needs no images.
    Partitions with damaged files are computed again from the images of --data; what is good is kept. On the kind of
    machine that made a store its bytes become what they were. The damaged files stay until 'fusion cache gc'. With
    --data or --dataset on the command line, only that data set is looked at; exits 10 if there is no store.

    \b
    Example:
      fusion cache repair --data flowers17
    """
    result = inputs.run_repair(settings, console.progress, console.note, semantic=semantic)
    console.tell(_lines(result))
    for failure in result.failures:
        console.warn(str(failure.error))
    console.document(
        {
            "restored": list(result.restored),
            "stores": [_to_json(item) for item in result.stores],
            "failures": [_failure_to_json(failure) for failure in result.failures],
        }
    )
    if result.failures:
        raise SystemExit(result.failures[0].error.exit_code)


def _lines(result: Repair) -> Iterator[str]:
    yield from (f"restored {printable(path)}" for path in result.restored)
    for item in result.stores:
        store = item.result.store
        yield (
            f"repaired {printable(store.dataset)}/{printable(store.folder)}: {item.result.computed:,} of "
            f"{store.rows:,} rows computed; {_compared(item)}"
        )
    if not (result.restored or result.stores or result.failures):
        yield "Nothing is damaged."


def _compared(item: Repaired) -> str:
    if item.had_wrong_rows:
        return "rows of it were wrong"
    return "every byte as it was" if item.is_identical else "other bytes than before: another machine or version"


def _to_json(item: Repaired) -> dict[str, Any]:
    store = item.result.store
    return {
        "dataset": store.dataset,
        "folder": store.folder,
        "backbone": store.name,
        "key": store.manifest.key,
        "computed": item.result.computed,
        "rows": store.rows,
        "manifest": store.manifest_digest,
        "identical": item.is_identical,
    }


def _failure_to_json(failure: Unrepaired) -> dict[str, Any]:
    error = failure.error
    return {
        "dataset": failure.dataset,
        "folder": failure.folder,
        "message": str(error),
        "exit_code": error.exit_code,
    }
