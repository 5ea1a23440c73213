"""`fusion cache export`: stores as NumPy or Parquet files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import click

from fusion_pipeline.commands import inputs
from fusion_pipeline.commands.console import Console
from fusion_pipeline.commands.options import complete_backbones, uses
from fusion_pipeline.config import Settings
from fusion_pipeline.errors import UsageError, printable

if TYPE_CHECKING:
    from fusion_pipeline.store import Store
    from fusion_pipeline.store.care.export import Format


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="STORE[,STORE...]...", shell_complete=complete_backbones)
@click.option("--to", "target", required=True, type=click.Path(), metavar="DIR", help="Folder to make.")
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["npy", "parquet"]),
    default="npy",
    help="A folder of .npy files with a samples.csv for each store, or one Parquet file for each. [default: npy]",
)
@uses("data", "dataset", "cache")
def export(names: tuple[str, ...], target: str, file_format: str, settings: Settings, console: Console) -> None:
    """Write stores as files for other programs.

    STORE is a backbone, or a folder as 'fusion cache ls' shows it. Row i is the same image in every file; a bad image
    keeps its row, as NaN, with its reason in status. In the names of files and classes %XX stands for a byte that is
    no printable UTF-8, or for %; urllib.parse.unquote_to_bytes gives the true bytes. export.json, and the metadata of a
    Parquet file, tell the manifests that were read.

    \b
    Example:
      fusion cache export xception resnet50 --to features --format parquet
    """
    from fusion_pipeline.extract.networks.backbones import split_names
    from fusion_pipeline.store.care import export as exporting
    from fusion_pipeline.store.care.selection import name_stores

    stores = name_stores(inputs.opened_cache(settings), inputs.chosen_dataset(settings), split_names(names))
    _refuse_namesakes(stores)
    written = exporting.export(stores, target, cast("Format", file_format))
    for (name, path), store in zip(written.items(), stores, strict=True):
        console.say(f"{printable(name):<20} {store.rows:>9,} rows  {printable(str(path))}")
    console.document(
        {
            "format": file_format,
            "stores": [
                {
                    "backbone": store.name,
                    "dataset": store.dataset,
                    "folder": store.folder,
                    "key": store.manifest.key,
                    "rows": store.rows,
                    "manifest": store.manifest_digest,
                    "path": str(path),
                }
                for store, path in zip(stores, written.values(), strict=True)
            ],
        }
    )


def _refuse_namesakes(stores: Sequence[Store]) -> None:
    """Refuse stores of one name from several data sets, and say how one of them is chosen."""
    datasets: dict[str, list[str]] = {}
    for store in stores:
        datasets.setdefault(store.name, []).append(store.dataset)
    for name, found in datasets.items():
        if len(set(found)) > 1:
            listed = ", ".join(f"'{printable(dataset)}'" for dataset in sorted(set(found)))
            raise UsageError(
                f"The data sets {listed} have a store '{printable(name)}' each. Choose one with --dataset, or name it "
                "as DATASET/FOLDER, as 'fusion cache ls' shows it."
            )
