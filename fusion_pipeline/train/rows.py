"""What a user asks for becomes the rows of the table, in its order, and what each is made from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from fusion_pipeline.train.concat import MODES, PCA_SVM, SVMS, TRANSDUCTIVE, TRANSDUCTIVE_LEAK, TUNED
from fusion_pipeline.train.concat_expert import SOFTMAX
from fusion_pipeline.train.expert_sets import CONCAT as CONCAT_EXPERT
from fusion_pipeline.train.expert_sets import SINGLES, expert_names
from fusion_pipeline.train.fusion import Fusion
from fusion_pipeline.train.gates.registry import variant
from fusion_pipeline.train.labels.space import GLOVE, LEARNED, NONE

CONCATS: Final = (*SVMS, SOFTMAX)
AVERAGE: Final = "average"
PLAIN_FUSIONS: Final = (AVERAGE, "logit-average", "calibrated-average", "constant", "log-pool", "stacking")
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
    mode : {"tuned", "paper", "transductive"}
        Of SVMs on concatenations.
    experts : {"singles", "singles,concat"}
        Which a gate fuses.

    Examples
    --------
    >>> RowName("gate", "embedding", "glove").text, RowName("concat", "concat-svm", mode="paper").text
    ('embedding + glove', 'concat-svm (paper)')
    >>> RowName("gate", "average", experts="singles,concat").text
    'average + concat'
    """

    kind: str
    method: str
    label_embedding: str = NONE
    mode: str = TUNED
    experts: str = SINGLES

    @property
    def text(self) -> str:
        """What the table calls it."""
        labels = "" if self.label_embedding == NONE else f" + {self.label_embedding}"
        beside = "" if self.experts == SINGLES else f" + {CONCAT_EXPERT}"
        return f"{self.method}{labels}{beside}{'' if self.mode == TUNED else f' ({self.mode})'}"

    @property
    def leaks(self) -> str:
        """Why its numbers are too good to be true, in a few words; empty where nothing leaks."""
        if self.mode == TRANSDUCTIVE:
            return TRANSDUCTIVE_LEAK
        return Fusion(self.method).leaks if self.kind == GATE else ""


def literal_rows(
    readouts: Sequence[str] = (), *, in_sample: bool = False, transductive: bool = False
) -> tuple[RowName, ...]:
    """Return rows that read the paper to the letter, for comparison; those that leak say so.

    Parameters
    ----------
    readouts : sequence of {"mean", "softmax"}
        Of the gate ``embedding``.
    in_sample : bool
        Stacking that is fitted on what the experts say of their own training rows.
    transductive : bool
        A PCA of all rows, tested ones included.

    Examples
    --------
    >>> [row.text for row in literal_rows(["mean"], in_sample=True, transductive=True)]
    ['concat-pca-svm (transductive)', 'embedding-mean', 'leaking-stacking']
    """
    return (
        *([RowName(CONCAT, PCA_SVM, mode=TRANSDUCTIVE)] if transductive else []),
        *(RowName(GATE, variant("embedding", readout=readout)) for readout in readouts),
        *([RowName(GATE, variant("stacking", in_sample=True))] if in_sample else []),
    )


def all_rows(
    backbones: Sequence[str],
    label_embeddings: Sequence[str] = (LEARNED, GLOVE),
    modes: Sequence[str] = MODES,
    experts: str = SINGLES,
) -> tuple[RowName, ...]:
    """Return every row of the table.

    Parameters
    ----------
    backbones : sequence of str
    label_embeddings : sequence of str
        Those of the rows with a label embedding.
    modes : sequence of str
        Of the SVMs on concatenations; ``concat-softmax``, which is not in the paper, has one way only.
    experts : str
        With ``"singles,concat"`` each gate has a second row, which fuses one expert more.

    Raises
    ------
    UsageError
        As of `expert_names`.

    Examples
    --------
    >>> [row.text for row in all_rows(["xception"], (), ["tuned"])][:4]
    ['xception', 'concat-svm', 'concat-pca-svm', 'concat-softmax']
    >>> len(all_rows(["xception", "resnet50"])), len(all_rows(["xception", "resnet50"], experts="singles,concat"))
    (22, 37)
    """
    expert_names(backbones, experts)
    sets = dict.fromkeys((SINGLES, experts))
    return (
        *(RowName(BACKBONE, name) for name in backbones),
        *(RowName(CONCAT, method, mode=mode) for method in SVMS for mode in modes),
        RowName(CONCAT, SOFTMAX),
        *(row for each in sets for row in _gates(label_embeddings, each)),
    )


def _gates(label_embeddings: Sequence[str], experts: str) -> Iterator[RowName]:
    yield from (RowName(GATE, name, experts=experts) for name in (*PLAIN_FUSIONS, *ADAPTIVE))
    yield from (RowName(GATE, name, kind, experts=experts) for kind in label_embeddings for name in ADAPTIVE)
