"""The options of label embeddings into the record that the library takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from fusion_pipeline.errors import UsageError

if TYPE_CHECKING:
    from fusion_pipeline.train.labels.choice import LabelChoice

F = TypeVar("F", bound=Callable[..., Any])


def label_details(command: F) -> F:
    """Stack ``label_vectors``, ``fine_tune_labels`` and ``top`` on a command: how labels are embedded."""
    for option in (
        click.option("--label-top", "--top", "top", type=click.IntRange(1, 1000), help="T of Eq. 8. [default: 5]"),
        click.option("--fine-tune-labels", is_flag=True, help="Let label vectors move away from GloVe."),
        click.option(
            "--label-vectors",
            type=click.Path(),
            metavar="FILE",
            help="Word vectors in GloVe's text format, of any dimension. [default: the extra 'words']",
        ),
    ):
        command = option(command)
    return command


def refuse_idle(kinds: Sequence[str], vectors: str | None, fine_tuned: bool, top: int | None) -> None:
    """Refuse options that no label embedding among `kinds` looks at."""
    idle = [("--label-vectors", vectors is not None), ("--fine-tune-labels", fine_tuned)]
    for option, given in idle:
        if given and "glove" not in kinds:
            raise UsageError(f"{option} is for GloVe. Give --label-embedding glove with it, or leave it out.")
    if top is not None and not {"glove", "learned"}.intersection(kinds):
        raise UsageError(
            "--label-top is for a label embedding. Give --label-embedding learned or glove with it, or leave it out."
        )


def label_choice(kind: str, vectors: str | None, fine_tuned: bool, top: int | None) -> LabelChoice:
    """Return a label embedding, its word vectors read; GloVe's options are passed over by other kinds.

    Raises
    ------
    FusionError
        As of `LabelChoice.of`.
    """
    from fusion_pipeline.train.labels.choice import LabelChoice
    from fusion_pipeline.train.labels.space import DEFAULT_TOP

    glove = kind == "glove"
    return LabelChoice.of(kind, top or DEFAULT_TOP, vectors if glove else None, fine_tuned=fine_tuned and glove)
