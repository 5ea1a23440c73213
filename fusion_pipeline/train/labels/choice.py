"""What the command line says of a label embedding becomes a record that travels with tasks, and its feature map."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from fusion_pipeline.errors import StaleError, UsageError, printable
from fusion_pipeline.train.labels.space import DEFAULT_TOP, GLOVE, NONE, LabelSpace, label_space
from fusion_pipeline.train.labels.vectors import LabelVectors, read_label_vectors

IMAGENET_CLASSES = 1000


@dataclass(frozen=True)
class LabelChoice:
    """Which label embedding experts have.

    Attributes
    ----------
    kind : {"none", "learned", "glove"}
    top : int
        T of Eq. 8.
    vectors : str or None
        For ``"glove"``: a file of word vectors, or None for the package of the extra ``words``.
    sha256 : str
        Of that file: another one under its name is another choice.
    fine_tuned : bool

    Examples
    --------
    >>> LabelChoice("learned").suffix, LabelChoice().suffix
    (' with learned labels', '')
    >>> LabelChoice("learned").space().width
    1000
    """

    kind: str = NONE
    top: int = DEFAULT_TOP
    vectors: str | None = None
    sha256: str = ""
    fine_tuned: bool = False

    @classmethod
    def of(
        cls, kind: str, top: int = DEFAULT_TOP, vectors: str | None = None, *, fine_tuned: bool = False
    ) -> LabelChoice:
        """Return a choice, its word vectors read once and known by their sha256.

        Raises
        ------
        UsageError
            If word vectors are given for another kind than ``"glove"``.
        FusionError
            As of `label_space`.
        """
        if vectors is not None and kind != GLOVE:
            raise UsageError(f"Label vectors are for label_embedding='{GLOVE}', but it is '{printable(kind)}'.")
        sha256 = _read(vectors).sha256 if kind == GLOVE else ""
        choice = cls(kind, top, vectors, sha256, fine_tuned)
        choice.space()
        return choice

    @property
    def suffix(self) -> str:
        """What a task's name says of it."""
        return "" if self.kind == NONE else f" with {self.kind} labels"

    @property
    def summary(self) -> str:
        """One line: which class names have a vector, and from where; empty for a kind without."""
        return _read(self.vectors).summary if self.kind == GLOVE else ""

    def to_json(self) -> dict[str, Any]:
        """Return the choice as JSON values, without the file's place.

        Examples
        --------
        >>> LabelChoice().to_json()
        {'kind': 'none'}
        """
        if self.kind == NONE:
            return {"kind": NONE}
        told = {"kind": self.kind, "top": self.top, "vectors_sha256": self.sha256, "fine_tuned": self.fine_tuned}
        missing = {"classes_without_vector": len(_read(self.vectors).missing)} if self.kind == GLOVE else {}
        return {**told, **missing}

    def space(self, n_classes: int = IMAGENET_CLASSES) -> LabelSpace | None:
        """Return the feature map of backbones that know so many classes; None for ``"none"``.

        Raises
        ------
        StaleError
            If the word vectors are not those of the choice any more.
        """
        found = _read(self.vectors) if self.kind == GLOVE else None
        if found is not None and found.sha256 != self.sha256:
            raise StaleError(f"The word vectors {printable(found.source)} changed. Run the command again.")
        return label_space(self.kind, n_classes, self.top, found, self.fine_tuned)


FEATURES_ALONE = LabelChoice()


@lru_cache(maxsize=2)
def _read(vectors: str | None) -> LabelVectors:
    return read_label_vectors(vectors)
