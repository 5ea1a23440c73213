"""`fusion audit`: from published percentages to the numbers of test images that they can come from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from fusion_pipeline.commands import exits
from fusion_pipeline.commands.console import Console
from fusion_pipeline.commands.options import uses
from fusion_pipeline.config import Settings

if TYPE_CHECKING:
    from fusion_pipeline.train.statistics.published import Audit, Fit

# Of so many sizes all counts of right images are shown; of more, only those of parts of the data set.
_FEW = 3


@click.command()
@click.argument("percentages", metavar="PERCENT...", nargs=-1, required=True)
@click.option(
    "--n", "n", type=click.IntRange(1), metavar="N", default=10_000, help="Images of the data set. [default: 10000]"
)
@uses()
def audit(percentages: tuple[str, ...], n: int, settings: Settings, console: Console) -> None:  # noqa: ARG001  every body takes it
    """Say which numbers of test images published percentages can come from.

    An accuracy is a whole number of images over the number of images tested, so the printed values of a table tell how
    large the test part was. All sizes up to N are tried, and N itself with its halves, thirds and so on are named. Give
    the values with all digits that are printed: 92.60 says more than 92.6. A value in the middle between two may have
    been rounded up, or to the even digit.

    \b
    Example:
      fusion audit 92.65 92.94 87.94 88.38 90.74 93.38 94.26 --n 1360
    """
    from fusion_pipeline.train.statistics.published import audit as find

    found = find(percentages, n, exits.SHOWN)
    console.tell(_lines(found))
    console.document(_document(found))


def _lines(found: Audit) -> Iterator[str]:
    different = len(set(found.percentages))
    values = f"{different} different value{'s' if different > 1 else ''}"
    if found.sizes:
        rest = f"; the smallest {exits.SHOWN}:" if len(found.sizes) > exits.SHOWN else ":"
        yield f"{len(found.sizes):,} of {found.n:,} numbers of test images are consistent with {values}{rest}"
        few = len(found.sizes) <= _FEW
        yield from (_fit_line(fit, counts=few or fit.share is not None) for fit in found.smallest)
    else:
        yield f"No number of test images up to {found.n:,} is consistent with {values}."
        yield "They may be means over several test parts, or over classes, or rounded otherwise."
    for consistent, verdict in ((True, "consistent"), (False, "not")):
        parts = [f"{fit.n:,} ({fit.share})" for fit in found.splits if fit.consistent == consistent]
        if parts:
            yield f"Of {found.n:,} and its parts, {verdict}: {', '.join(parts)}."


def _fit_line(fit: Fit, *, counts: bool) -> str:
    chance = f"1 in {1 / fit.chance:,.0f}" if fit.chance > 1e-6 else f"{fit.chance:.0e}"
    multiple = f"; all counts are multiples of {fit.n // fit.multiple_of}" if fit.multiple_of is not None else ""
    right = " ".join(str(least) if least == most else f"{least}-{most}" for least, most in fit.counts)
    return f"{fit.n:>9,}  by chance {chance}{multiple}{f'; right: {right}' if counts else ''}"


def _document(found: Audit) -> dict[str, Any]:
    return {
        "percentages": [item.text for item in found.percentages],
        "n": found.n,
        "sizes": list(found.sizes),
        "smallest": [_record(fit) for fit in found.smallest],
        "splits": [_record(fit) for fit in found.splits],
    }


def _record(fit: Fit) -> dict[str, Any]:
    return {
        "n": fit.n,
        "share": None if fit.share is None else str(fit.share),
        "consistent": fit.consistent,
        "counts": [list(bounds) for bounds in fit.counts],
        "multiple_of": fit.multiple_of,
        "chance": fit.chance,
    }
