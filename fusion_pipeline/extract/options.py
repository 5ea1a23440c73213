"""How stage one runs, as one frozen record."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from fusion_pipeline.errors import UsageError, printable
from fusion_pipeline.images.decode import DecodeBudget
from fusion_pipeline.store.layout import PARTITION_ROWS


@dataclass(frozen=True)
class Options:
    """How stage one runs; nothing here changes what a store is, but for `dtype`.

    Parameters
    ----------
    dtype : {"float16", "float32"}
        How features and probabilities are stored.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
    batch_size : int
        Images in a forward pass.
    workers : int
        Decoding threads; 0 for one per processor.
    partition_rows : int
        Rows that are computed and written together: what a kill may cost.
    on_bad : {"stop", "skip"}
        Whether a file that cannot be decoded stops the run, or keeps its row as NaN.
    budget : DecodeBudget
        What an image may cost.
    anew : bool
        Whether to begin beside what a stopped run left that was made otherwise.
    mend : bool
        Whether damaged stores are made anew of what is left of them.
    """

    dtype: str = "float16"
    device: str = "auto"
    batch_size: int = 32
    workers: int = 0
    partition_rows: int = PARTITION_ROWS
    on_bad: str = "stop"
    budget: DecodeBudget = field(default_factory=DecodeBudget)
    anew: bool = False
    mend: bool = False

    def __post_init__(self) -> None:
        for name, values in (("dtype", ("float16", "float32")), ("on_bad", ("stop", "skip"))):
            if getattr(self, name) not in values:
                raise UsageError(f"'{printable(getattr(self, name))}' is not a {name}. Use {' or '.join(values)}.")
        for name, least in (("batch_size", 1), ("partition_rows", 1), ("workers", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} {getattr(self, name)} is too small: it must be at least {least}.")

    @property
    def threads(self) -> int:
        """Number of decoding threads."""
        return self.workers or os.cpu_count() or 1
