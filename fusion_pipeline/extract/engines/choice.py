"""A device and an amount of work into the engine that is done first."""

from __future__ import annotations

from collections.abc import Callable

import torch

from fusion_pipeline.errors import UsageError, printable
from fusion_pipeline.extract.backbones import Preprocessing
from fusion_pipeline.extract.engines.compiled import CompiledEngine, NotCompiledError
from fusion_pipeline.extract.engines.cuda import CudaEngine
from fusion_pipeline.extract.engines.eager import EagerEngine
from fusion_pipeline.extract.engines.engine import Engine
from fusion_pipeline.extract.network import Network
from fusion_pipeline.extract.plan import Plan

CPU_BATCH_SIZE = 32

# Compiling takes half a minute to a minute and makes the rest about twice as fast. An eager network does some 1.7e10
# multiply-adds a second on each thread of an ordinary processor, so that work of 1e12 takes it a minute: from twice
# that on the time is surely won back. `benchmarks/extract.py` prints both.
_WORTH_COMPILING = 2e12


def choose_engine(
    name: str,
    network: Network,
    preprocessing: Preprocessing,
    plan: Plan,
    *,
    images: int = 0,
    tell: Callable[[str], object] = lambda _line: None,
) -> Engine:
    """Return the engine that is done first with a number of images.

    The choice depends on nothing that differs from run to run, so that whoever goes on with the work of another run
    on such a machine makes the same bytes.

    Parameters
    ----------
    name : str
        The backbone's name, for people.
    network : Network
    preprocessing : Preprocessing
    plan : Plan
    images : int
        How many the whole work has.
    tell : callable
        Takes a line for people.

    Returns
    -------
    Engine

    Raises
    ------
    UsageError
        If the compiled engine was asked for by name and cannot be had.
    """
    batch_size = plan.batch_size or CPU_BATCH_SIZE
    if plan.device.startswith("cuda"):
        return CudaEngine(
            network, preprocessing, plan.device, batch_size=plan.batch_size, precision=plan.precision, tell=tell
        )
    worth = plan.worth_compiling
    if worth is None:
        worth = is_worth_compiling(network.multiply_adds, images)
    if plan.engine == "compiled" or (plan.engine == "auto" and worth):
        try:
            return CompiledEngine(network, preprocessing, batch_size=batch_size, precision=plan.precision, tell=tell)
        except NotCompiledError as error:
            if plan.engine == "compiled":
                raise UsageError(
                    f"Backbone '{printable(name)}' cannot be compiled: {printable(str(error))}. Use --engine eager."
                ) from None
            tell(f"{printable(name)}: not compiled, for {printable(str(error))}; this takes about twice the time.")
    return EagerEngine(network, preprocessing, plan.device, batch_size=batch_size, precision=plan.precision, tell=tell)


def is_worth_compiling(multiply_adds: float, images: int) -> bool:
    """Return whether the time to compile a network is won back.

    Parameters
    ----------
    multiply_adds : float
        Of the network, for one image.
    images : int
        How many there are.

    Examples
    --------
    >>> is_worth_compiling(8.4e9, 100), is_worth_compiling(8.4e9, 100_000)
    (False, True)
    """
    return multiply_adds * images >= _WORTH_COMPILING * torch.get_num_threads()


def find_device(name: str) -> str:
    """Return the device that `name` stands for.

    Parameters
    ----------
    name : str
        ``"auto"`` (the GPU where there is one), ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.

    Raises
    ------
    UsageError
        If this machine does not have it.

    Examples
    --------
    >>> find_device("cpu")
    'cpu'
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError):
        raise UsageError(f"Device '{printable(name)}' is not on this machine. Use --device cpu or auto.") from None
    return name


def check_engine(plan: Plan) -> Plan:
    """Return a plan whose engine is one for its device.

    Raises
    ------
    UsageError
        If it is not.

    Examples
    --------
    >>> check_engine(Plan("cpu", "compiled")).engine
    'compiled'
    """
    if plan.engine == "compiled" and plan.device != "cpu":
        raise UsageError(
            f"Engine 'compiled' is for a CPU, and the device is {printable(plan.device)}. Leave --engine out, or give "
            "--device cpu."
        )
    return plan


def describe_device(device: str) -> dict[str, str | int]:
    """Return what a store tells about the device it was made on."""
    if device.startswith("cuda"):
        return {"device": torch.cuda.get_device_name(device)}
    return {"device": "cpu", "threads": torch.get_num_threads()}
