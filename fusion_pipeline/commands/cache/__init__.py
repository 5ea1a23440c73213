"""`fusion cache`: the verbs that look after what a team shares, one a file."""

from __future__ import annotations

import click

from fusion_pipeline.commands.cache.export import export
from fusion_pipeline.commands.cache.gc import collect_garbage
from fusion_pipeline.commands.cache.info import info
from fusion_pipeline.commands.cache.ls import list_stores
from fusion_pipeline.commands.cache.migrate import migrate
from fusion_pipeline.commands.cache.pull import pull
from fusion_pipeline.commands.cache.push import push
from fusion_pipeline.commands.cache.repair import repair
from fusion_pipeline.commands.cache.verify import verify


@click.group()
def cache() -> None:
    """Look after the stores that a team shares.

    \b
    Example:
      fusion cache ls
    """


for _command in (list_stores, info, verify, repair, pull, push, collect_garbage, export, migrate):
    cache.add_command(_command)
