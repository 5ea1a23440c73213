"""The command: `fusion` and its subcommands, one a file.

Everything heavy is imported inside the commands: `fusion --help` answers without torch.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import click

from fusion_pipeline import __version__
from fusion_pipeline.commands.analyze import analyze
from fusion_pipeline.commands.audit import audit
from fusion_pipeline.commands.backbones import backbones
from fusion_pipeline.commands.benchmark import benchmark
from fusion_pipeline.commands.cache import cache
from fusion_pipeline.commands.datasets import datasets
from fusion_pipeline.commands.demo import demo
from fusion_pipeline.commands.extract import extract
from fusion_pipeline.commands.predict import predict
from fusion_pipeline.commands.report import report
from fusion_pipeline.commands.train import train


class _Group(click.Group):
    """A group whose complaints about the call itself are a JSON document too, where one is asked for."""

    def main(self, args: Sequence[str] | None = None, *, standalone_mode: bool = True, **extra: Any) -> Any:  # type: ignore[override]  # click's are overloads
        """Run the command; see `click.Command.main`."""
        given = list(sys.argv[1:] if args is None else args)
        if not standalone_mode or "--json" not in given:
            return super().main(given, standalone_mode=standalone_mode, **extra)
        try:
            code = super().main(given, standalone_mode=False, **extra)
        except click.UsageError as error:
            error.show()
            document = {"kind": "UsageError", "message": error.format_message(), "exit_code": error.exit_code}
            click.echo(json.dumps({"error": document}, indent=2))
            sys.exit(error.exit_code)
        sys.exit(code if isinstance(code, int) else 0)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="fusion")
def main() -> None:
    """Get the best classifier out of a shelf of frozen pretrained backbones.

    Stage one, `fusion extract`, runs each backbone once over a folder of labelled images and keeps what it gives in a
    cache that a team shares. Stage two, `fusion train`, learns from that cache how to fuse them, and says what the
    fusing gains.

    \b
    Example:
      fusion extract --data flowers17 --backbone xception,resnet50
      fusion train --data flowers17 --gate embedding

    Options with a key may also stand in fusion.toml (in this folder or above it), or in FUSION_* variables, which beat
    it: --cache is cache, and FUSION_CACHE. The keys are data, data_home, dataset, cache, local_copy, single_writer,
    weights, device, dtype, engine, precision, batch_size, workers, decode_in, scheduler, tls_ca, tls_cert, tls_key,
    insecure, resources, partition_rows, on_bad, max_megapixels, follow_symlinks, gate, folds, seed, executor, runs,
    expect_manifest, and backbones, which --backbone overrides. No other option has a variable.

    Exit codes: 0 done; 2 wrong call; 3 done, some images skipped; 10 something missing; 11 busy;
    12 damaged; 13 unknown format; 14 stale; 15 storage failed; 16 refused; 17 unusable images; 18 a worker was lost;
    130 and 143 interrupted.
    """


for _command in (extract, train, benchmark, analyze, report, predict, audit, cache, backbones, datasets, demo):
    main.add_command(_command)
