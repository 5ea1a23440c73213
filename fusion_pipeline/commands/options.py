"""The options of all commands, each declared once, and the decorator that stacks them on a command."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from fusion_pipeline.commands.console import STARTS_ANEW, Console
from fusion_pipeline.config import LEAST, Settings, load_settings
from fusion_pipeline.errors import FusionError
from fusion_pipeline.train.expert_sets import EXPERT_SETS, SINGLES

F = TypeVar("F", bound=Callable[..., Any])

# For the shell's completion; whether the place will do is checked by who opens it, with a better message.
_FOLDER = click.Path()


def _complete_gate(_context: click.Context, _parameter: click.Parameter, typed: str) -> list[str]:
    from fusion_pipeline.train.gates.registry import GATES

    return [name for name in GATES if name.startswith(typed)]


def complete_backbones(_context: click.Context, _parameter: click.Parameter, typed: str) -> list[str]:
    """Complete the last name of a list of backbones: the known ones, those of the configuration, and the groups."""
    from fusion_pipeline.extract.networks.backbones import KNOWN

    earlier, comma, last = typed.rpartition(",")
    try:
        settings = read_settings({})
    except FusionError:
        settings = Settings()
    names = dict.fromkeys(["all", "paper", *settings.backbones, *settings.backbone, *KNOWN])
    return [f"{earlier}{comma}{name}" for name in names if name.startswith(last)]


_OPTIONS: dict[str, Callable[[Any], Any]] = {
    "data": click.option(
        "--data",
        type=_FOLDER,
        metavar="DIR|FILE|NAME",
        help="Folder of class folders with the images, CSV or Parquet manifest, tar file, or the name of a data set "
        "that 'fusion datasets' lists. [fusion.toml: data]",
    ),
    "data_home": click.option(
        "--data-home",
        type=_FOLDER,
        metavar="DIR",
        help="Where the data sets lie that go by name. [default: ~/.cache/fusion/datasets]",
    ),
    "dataset": click.option(
        "--dataset", metavar="NAME", help="Name of the data set in the cache. [default: the folder's name]"
    ),
    "cache": click.option(
        "--cache",
        type=_FOLDER,
        metavar="DIR|URL",
        help="Folder or s3://BUCKET/PREFIX of the stores that a team shares. [default: cache]",
    ),
    "local_copy": click.option(
        "--local-copy", type=_FOLDER, metavar="DIR", help="Keep checked copies of what is read from a remote cache."
    ),
    "single_writer": click.option(
        "--single-writer",
        is_flag=True,
        default=None,
        help="Nobody else writes to the cache meanwhile: take an object store that ignores conditions.",
    ),
    "weights": click.option(
        "--weights",
        type=click.Path(),
        metavar="PATH",
        help="A weights file, or a folder of BACKBONE.safetensors files.",
    ),
    "device": click.option("--device", metavar="NAME", help="auto, cpu, cuda or cuda:N. [default: auto]"),
    "dtype": click.option(
        "--dtype", type=click.Choice(["float16", "float32"]), help="How features are stored. [default: float16]"
    ),
    "engine": click.option(
        "--engine",
        type=click.Choice(["auto", "eager", "compiled"]),
        help="How networks run on a CPU: compiled, if the work is long enough to win the time for that back. "
        "[default: auto]",
    ),
    "precision": click.option(
        "--precision",
        type=click.Choice(["float32", "float16", "bfloat16"]),
        help="What networks compute in; part of what a store is. The smaller ones are for GPUs. [default: float32]",
    ),
    "batch_size": click.option(
        "--batch-size",
        type=click.IntRange(LEAST["batch_size"]),
        metavar="N",
        help="Images in a forward pass; 0 is 8 on a CPU, and what is fastest on a GPU. [default: 0]",
    ),
    "decode_in": click.option(
        "--decode-in",
        type=click.Choice(["auto", "threads", "processes"]),
        help="Where images are decoded: threads if the networks are on a CPU. [default: auto]",
    ),
    "workers": click.option(
        "--workers",
        type=click.IntRange(LEAST["workers"]),
        metavar="N",
        help="Threads or processes; 0 is one per processor.",
    ),
    "scheduler": click.option(
        "--scheduler",
        metavar="URL",
        help="Compute on the workers of a running Dask cluster: tcp://HOST:PORT or tls://HOST:PORT.",
    ),
    "tls_ca": click.option("--tls-ca", type=click.Path(), metavar="FILE", help="For tls://: the authority's PEM file."),
    "tls_cert": click.option("--tls-cert", type=click.Path(), metavar="FILE", help="For tls://: this side's PEM file."),
    "tls_key": click.option("--tls-key", type=click.Path(), metavar="FILE", help="For tls://: its key."),
    "insecure": click.option(
        "--insecure", is_flag=True, default=None, help="Take a scheduler on another machine without TLS."
    ),
    "resources": click.option(
        "--resources",
        multiple=True,
        metavar="NAME=N",
        callback=lambda _context, _parameter, given: given or None,
        help="What a worker must have to spare for each partition, such as GPU=1; repeats.",
    ),
    "partition_rows": click.option(
        "--partition-rows",
        type=click.IntRange(LEAST["partition_rows"]),
        metavar="N",
        help="Images that are computed and written together; a kill costs at most twice as many. [default: 512]",
    ),
    "on_bad": click.option(
        "--on-bad",
        type=click.Choice(["stop", "skip"]),
        help="An image that cannot be decoded stops the run, or keeps its row as NaN. [default: stop]",
    ),
    "max_megapixels": click.option(
        "--max-megapixels", type=float, metavar="X", help="Refuse images with more pixels, unread. [default: 64]"
    ),
    "follow_symlinks": click.option(
        "--follow-symlinks", is_flag=True, default=None, help="Follow links in the images' folder."
    ),
    "gate": click.option(
        "--gate",
        metavar="NAME",
        shell_complete=_complete_gate,
        help="average, constant, stacking, embedding, cnn32 or cnn64. [default: embedding]",
    ),
    "folds": click.option(
        "--folds",
        type=click.IntRange(LEAST["folds"]),
        metavar="N",
        help="Cross-validation folds. [default: 2, the paper's]",
    ),
    "seed": click.option(
        "--seed", type=click.IntRange(LEAST["seed"]), metavar="N", help="Of every random choice. [default: 0]"
    ),
    "executor": click.option(
        "--executor",
        type=click.Choice(["processes", "threads", "loop"]),
        help="What runs the tasks; the results are the same bytes. [default: processes]",
    ),
    "runs": click.option("--runs", type=_FOLDER, metavar="DIR", help="Folder for the trained models. [default: runs]"),
    "expect_manifest": click.option(
        "--expect-manifest",
        multiple=True,
        metavar="SHA256",
        callback=lambda _context, _parameter, given: given or None,
        help="Refuse a store, the index included, whose manifest has another digest; repeats. 'fusion cache info' "
        "tells them.",
    ),
}


def backbones_option(what: str) -> Callable[[F], F]:
    """Return the option ``--backbone``, which comes to a command as ``names``.

    Parameters
    ----------
    what : str
        What the command does with them, and what it takes by default.
    """
    return click.option(
        "--backbone", "names", multiple=True, metavar="NAME[,NAME...]", shell_complete=complete_backbones, help=what
    )


index_option = click.option(
    "--index", metavar="KEY", help="Version of the images, as 'fusion cache ls' shows it. [default: last extracted]"
)


def experts_option(what: str) -> Callable[[F], F]:
    """Return the option ``--experts``.

    Parameters
    ----------
    what : str
        What the concatenation is to the command.
    """
    return click.option(
        "--experts",
        type=click.Choice(EXPERT_SETS),
        default=SINGLES,
        show_default=True,
        help=f"One expert per backbone; or one more on all their features side by side, {what}",
    )


_JSON = click.option("--json", "json_wanted", is_flag=True, help="Write one JSON document to stdout.")
_DEBUG = click.option("--debug", is_flag=True, help="Show a traceback when something fails.")


def uses(*names: str, interrupted: str = STARTS_ANEW) -> Callable[[F], Callable[..., None]]:
    """Stack the named options on a command, and hand its body the settings and a console instead.

    Parameters
    ----------
    *names : str
        Keys of `Settings` that the command lets the command line override.
    interrupted : str
        What to say when the command is interrupted.

    Returns
    -------
    callable
        A decorator; the body takes ``settings``, ``console`` and the command's own parameters.
    """

    def decorate(body: F) -> Callable[..., None]:
        @functools.wraps(body)
        def command(*, json_wanted: bool, debug: bool, **parameters: Any) -> None:
            console = Console(json_wanted=json_wanted, debug=debug, interrupted=interrupted)
            with console.failures():
                given = {name: parameters.pop(name) for name in names}
                body(settings=read_settings(given), console=console, **parameters)

        stacked: Callable[..., None] = command
        for option in (_DEBUG, _JSON, *(_OPTIONS[name] for name in reversed(names))):
            stacked = option(stacked)
        return stacked

    return decorate


def read_settings(given: dict[str, Any]) -> Settings:
    """Return the settings of this process, with the options that were given."""
    return load_settings(given, os.environ, Path.cwd(), _flags())


def _flags() -> set[str]:
    """Return the options of the running command that are no settings."""
    context = click.get_current_context(silent=True)
    parameters = context.command.params if context is not None else []
    return {flag for item in parameters if item.name not in _OPTIONS for flag in item.opts + item.secondary_opts}
