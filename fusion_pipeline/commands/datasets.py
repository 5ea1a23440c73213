"""`fusion datasets`: the paper's data sets, and whether there are complete copies of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fusion_pipeline.commands import exits, inputs
from fusion_pipeline.commands.console import Console
from fusion_pipeline.commands.options import uses
from fusion_pipeline.config import Settings
from fusion_pipeline.errors import FormatError, IncompleteError, UsageError, printable

if TYPE_CHECKING:
    from fusion_pipeline.images.datasets.check import Check


@click.command()
@click.argument("name", required=False)
@click.option("--download", is_flag=True, help="Fetch the data set NAME, if there is no copy of it.")
@uses("data", "data_home")
def datasets(name: str | None, download: bool, settings: Settings, console: Console) -> None:
    """List the paper's data sets; with NAME, check a copy of one.

    A data set that goes by name is a folder of that name here, or else in --data-home; --data names another copy. Each
    is compared with the paper's Table 1: what is missing is named, and the exit code is 10. Only names are looked at;
    'fusion extract' decodes every image.

    \b
    Example:
      fusion datasets
      fusion datasets flowers17 --data downloads/17flowers
      fusion datasets pets --download
    """
    if name is None:
        if download or "data" in settings.given:
            raise UsageError("Which data set? Give its name: 'fusion datasets' lists them.")
        checks = list(_all(settings))
        console.tell(line for check in checks for line in _lines(check))
        console.document({"datasets": [check.to_json() for check in checks]})
        return
    check = _one(name, settings, console, download=download)
    console.tell(_lines(check))
    console.tell(_missing(check), indent="  ")
    console.document(check.to_json())
    if not check.is_complete:
        sys.exit(IncompleteError.exit_code)


def _all(settings: Settings) -> Iterator[Check]:
    from fusion_pipeline.images.datasets.check import check_copy
    from fusion_pipeline.images.datasets.registry import DATASETS, find_copy

    for record in DATASETS.values():
        yield check_copy(record, find_copy(record.name, inputs.data_home(settings)))


def _one(name: str, settings: Settings, console: Console, *, download: bool) -> Check:
    from fusion_pipeline.images.datasets.check import check_copy
    from fusion_pipeline.images.datasets.download import download as fetch
    from fusion_pipeline.images.datasets.registry import DATASETS, find_copy

    if name not in DATASETS:
        raise UsageError(f"'{printable(name)}' is not a data set of the paper. They are {', '.join(DATASETS)}.")
    home = inputs.data_home(settings)
    if "data" in settings.given and settings.data is not None:
        place = Path(settings.data).expanduser().absolute()
        if not place.exists():
            raise IncompleteError(f"There is nothing at '{printable(str(place))}'. Correct --data.")
        if not place.is_dir():
            raise FormatError(f"'{printable(str(place))}' is no folder. Unpack it, and give the folder with --data.")
        return check_copy(DATASETS[name], place)
    place_found = find_copy(name, home)
    if place_found is None and download:
        place_found = fetch(DATASETS[name], home, console.note)
    return check_copy(DATASETS[name], place_found)


def _lines(check: Check) -> Iterator[str]:
    record = check.record
    where = "" if check.place is None else f"  {printable(str(check.place))}"
    yield f"{record.name:<11} {record.images:>6,} images {record.classes:>4} classes  {printable(check.text)}{where}"


def _missing(check: Check) -> Iterator[str]:
    record = check.record
    if record.note:
        yield f"{record.note[0].upper()}{record.note[1:]}."
    for path in check.absent[: exits.SHOWN]:
        yield f"missing  {printable(path)}"
    if len(check.absent) > exits.SHOWN:
        yield f"and {len(check.absent) - exits.SHOWN:,} more"
    if not check.is_complete:
        fetch = f"'fusion datasets {record.name} --download' fetches it from:"
        yield fetch if check.place is None else "Its archives:"
        for archive in record.archives:
            known = archive.known_hash or "no hash is published: that of the first download is noted"
            yield f"  {archive.url}  {known}"
