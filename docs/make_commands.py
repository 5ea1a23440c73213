"""The commands' own ``--help`` into docs/commands.md."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from fusion_pipeline.commands import main

COLUMNS = 100
TARGET = Path(__file__).with_name("commands.md")

_OPENING = """\
# Commands

Written by `make docs` from each command's own `--help`; edit the command, not this file.
"""


def reference() -> str:
    """Return the whole reference as Markdown: one section per command, each followed by its subcommands."""
    sections = [f"## {context.command_path}\n\n```text\n{_help(context)}\n```\n" for context in _contexts(main)]
    return "\n".join([_OPENING, *sections])


def run(arguments: list[str]) -> int:
    """Write docs/commands.md; with ``--check`` only compare, and return 1 if it is out of date."""
    if arguments not in ([], ["--check"]):
        click.echo("Usage: python docs/make_commands.py [--check]", err=True)
        return 2
    wanted = reference().encode()
    if not arguments:
        TARGET.write_bytes(wanted)
    elif not TARGET.is_file() or TARGET.read_bytes() != wanted:
        click.echo("docs/commands.md is out of date. Run 'make docs', and commit what it writes.", err=True)
        return 1
    return 0


def _contexts(command: click.Command, parent: click.Context | None = None) -> Iterator[click.Context]:
    # The name and the width are given: by default they would follow the script's name and the terminal.
    name = "fusion" if parent is None else command.name
    context = click.Context(command, parent=parent, info_name=name, terminal_width=COLUMNS, **command.context_settings)
    yield context
    if isinstance(command, click.Group):
        for child in sorted(command.commands):
            yield from _contexts(command.commands[child], context)


def _help(context: click.Context) -> str:
    lines = click.unstyle(context.get_help()).strip().splitlines()
    return "\n".join(line.rstrip() for line in lines)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
