"""How stage one runs, as one frozen record."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from fusion_pipeline.errors import UsageError, printable
from fusion_pipeline.extract.plan import ENGINES, PRECISIONS, Plan
from fusion_pipeline.images.decode import DecodeBudget
from fusion_pipeline.store.layout import PARTITION_ROWS


@dataclass(frozen=True)
class Options:
    """How stage one runs. What a store is depends on `dtype`, `precision` and `budget` alone.

    Parameters
    ----------
    dtype : {"float16", "float32"}
        How features and probabilities are stored.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
    batch_size : int
        Images in a forward pass; 0 for what the unfinished or damaged store was begun with on such a device, else for
        32 on a processor, and for what is fastest on a GPU.
    workers : int
        Decoding threads or processes; 0 for one per processor.
    partition_rows : int
        Rows that are computed and written together; a kill costs those in hand, at most this many that are computed
        and as many that are being written.
    on_bad : {"stop", "skip"}
        Whether a file that cannot be decoded stops the run, or keeps its row as NaN.
    budget : DecodeBudget
        What an image may cost.
    anew : bool
        Whether to begin beside what a stopped run left that was made otherwise.
    mend : bool
        Whether damaged stores are made anew of what is left of them.
    engine : {"auto", "eager", "compiled"}
        How networks are run on the CPU.
    precision : {"float32", "float16", "bfloat16"}
        What networks compute in.
    decode_in : {"auto", "threads", "processes"}
        Where images are decoded: threads wherever the networks take longer than that, as on a CPU.
    """

    dtype: str = "float16"
    device: str = "auto"
    batch_size: int = 0
    workers: int = 0
    partition_rows: int = PARTITION_ROWS
    on_bad: str = "stop"
    budget: DecodeBudget = field(default_factory=DecodeBudget)
    anew: bool = False
    mend: bool = False
    engine: str = "auto"
    precision: str = "float32"
    decode_in: str = "auto"

    def __post_init__(self) -> None:
        choices = {
            "dtype": ("float16", "float32"),
            "on_bad": ("stop", "skip"),
            "engine": ENGINES,
            "precision": PRECISIONS,
            "decode_in": ("auto", "threads", "processes"),
        }
        for name, values in choices.items():
            if getattr(self, name) not in values:
                listed = f"{', '.join(values[:-1])} or {values[-1]}"
                raise UsageError(f"'{printable(getattr(self, name))}' is not a value of {name}. Use {listed}.")
        for name, least in (("batch_size", 0), ("partition_rows", 1), ("workers", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} {getattr(self, name)} is too small: it must be at least {least}.")

    def plan(self, device: str) -> Plan:
        """Return how networks are run on a device."""
        return Plan(device, self.engine, self.precision, self.batch_size)

    def in_processes(self, device: str) -> bool:
        """Return whether images are decoded in processes of their own."""
        return self.decode_in == "processes" or (self.decode_in == "auto" and device != "cpu" and self.threads > 1)

    @property
    def threads(self) -> int:
        """Number of decoding threads or processes."""
        return self.workers or os.cpu_count() or 1
