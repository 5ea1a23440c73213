"""How networks are run, as one frozen record that needs no torch."""

from __future__ import annotations

from dataclasses import dataclass

ENGINES_OF_CPU = ("eager", "compiled")
ENGINES = ("auto", *ENGINES_OF_CPU)
LAYOUTS = ("channels_last", "channels_first")
PRECISIONS = ("float32", "float16", "bfloat16")


@dataclass(frozen=True)
class Plan:
    """How networks are run.

    Parameters
    ----------
    device : str
        ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
    engine : {"auto", "eager", "compiled"}
        Which engine to take on the CPU; by default the one that is done first.
    precision : {"float32", "float16", "bfloat16"}
        What networks compute in.
    batch_size : int
        Images in a forward pass; 0 for what is best on the device.
    layout : {"", "channels_last", "channels_first"}
        How a GPU keeps images in its memory; by default as the network is faster there.
    before : {"", "eager", "compiled"}
        What made the rows that are there on a CPU: ``"auto"`` takes it again.
    worth_compiling : bool, optional
        Whether the work is long enough for ``"auto"`` to compile the network; found out where nobody says so.

    Examples
    --------
    >>> Plan("cuda:1", precision="float16").batch_size
    0
    """

    device: str = "cpu"
    engine: str = "auto"
    precision: str = "float32"
    batch_size: int = 0
    layout: str = ""
    before: str = ""
    worth_compiling: bool | None = None
