"""What a user asks for becomes the rows of the table, in its order, and what each is made from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from fusion_pipeline.train.concat import CONCATS, MODES, TUNED
from fusion_pipeline.train.labels.space import GLOVE, LEARNED, NONE

PLAIN_FUSIONS: Final = ("average", "logit-average", "calibrated-average", "constant", "stacking")
ADAPTIVE: Final = ("embedding", "cnn32", "cnn64")

BACKBONE: Final = "backbone"
CONCAT: Final = "concat"
GATE: Final = "gate"


@dataclass(frozen=True)
class RowName:
    """One row of the table.

    Attributes
    ----------
    kind : {"backbone", "concat", "gate"}
    method : str
        A backbone, a concatenation or a gate.
    label_embedding : {"none", "learned", "glove"}
    mode : {"tuned", "paper"}
        For concatenations.

    Examples
    --------
    >>> RowName("gate", "embedding", "glove").text, RowName("concat", "concat-svm", mode="paper").text
    ('embedding + glove', 'concat-svm (paper)')
    """

    kind: str
    method: str
    label_embedding: str = NONE
    mode: str = TUNED

    @property
    def text(self) -> str:
        """What the table calls it."""
        labels = "" if self.label_embedding == NONE else f" + {self.label_embedding}"
        return f"{self.method}{labels}{'' if self.mode == TUNED else f' ({self.mode})'}"


def all_rows(
    backbones: Sequence[str], label_embeddings: Sequence[str] = (LEARNED, GLOVE), modes: Sequence[str] = MODES
) -> tuple[RowName, ...]:
    """Return every row of the table.

    Parameters
    ----------
    backbones : sequence of str
    label_embeddings : sequence of str
        Those of the rows with a label embedding.
    modes : sequence of str
        Of the concatenations.

    Examples
    --------
    >>> [row.text for row in all_rows(["xception"], (), ["tuned"])][:4]
    ['xception', 'concat-svm', 'concat-pca-svm', 'concat-softmax']
    >>> len(all_rows(["xception", "resnet50"]))
    22
    """
    return tuple(_rows(backbones, label_embeddings, modes))


def _rows(backbones: Sequence[str], label_embeddings: Sequence[str], modes: Sequence[str]) -> Iterator[RowName]:
    yield from (RowName(BACKBONE, name) for name in backbones)
    yield from (RowName(CONCAT, method, mode=mode) for method in CONCATS for mode in modes)
    yield from (RowName(GATE, name) for name in (*PLAIN_FUSIONS, *ADAPTIVE))
    yield from (RowName(GATE, name, kind) for kind in label_embeddings for name in ADAPTIVE)
