"""A device and an amount of work into the engine that is done first."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

from fusion_pipeline.errors import UsageError, printable
from fusion_pipeline.extract.engines.compiled import CompiledEngine, NotCompiledError, missing_compiler
from fusion_pipeline.extract.engines.cuda import CudaEngine
from fusion_pipeline.extract.engines.eager import EagerEngine
from fusion_pipeline.extract.engines.engine import Engine
from fusion_pipeline.extract.networks.backbones import Preprocessing
from fusion_pipeline.extract.networks.network import Network
from fusion_pipeline.extract.plan import Plan

CPU_BATCH_SIZE = 8
"""What layers hand on still fits into a processor's cache; large batches go through memory between all layers."""

COMPILED_GAIN = 1.15
"""About how many times as fast as eager a compiled network is; `benchmarks/extract.py` prints it."""

COMPILE_SECONDS = 30.0
"""About how long a network is compiled: twenty to forty seconds."""

# An eager network does some 2e10 multiply-adds a second on each thread of an ordinary processor, so that work of 8e12
# takes it seven minutes: from then on the time to compile it is won back.
_WORTH_COMPILING = 8e12


class Choice(NamedTuple):
    """An engine's name, and why it is taken."""

    engine: str
    why: str


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

    On a processor the choice depends on nothing that differs from run to run, so that whoever goes on with the work
    of another run on such a machine makes the same bytes. On a GPU what the plan leaves open is found by timing: see
    `fusion_pipeline.extract.engines.before.as_before`.

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
    wanted = _wanted(network.multiply_adds, plan, images).engine
    if wanted == CudaEngine.name:
        return CudaEngine(
            network,
            preprocessing,
            plan.device,
            layout=plan.layout,
            batch_size=plan.batch_size,
            precision=plan.precision,
            tell=tell,
        )
    if wanted == CompiledEngine.name:
        try:
            return CompiledEngine(network, preprocessing, batch_size=batch_size, precision=plan.precision, tell=tell)
        except NotCompiledError as error:
            if plan.engine == "compiled":
                raise _refusal(name, str(error)) from None
            tell(f"{printable(name)}: not compiled, for {printable(str(error))}; this takes about a sixth longer.")
    return EagerEngine(network, preprocessing, plan.device, batch_size=batch_size, precision=plan.precision, tell=tell)


def foresee_engine(name: str, multiply_adds: float, plan: Plan, images: int) -> Choice:
    """Return which engine will be taken, unless the network turns out to be one that cannot be compiled.

    Parameters
    ----------
    name : str
        The backbone's name, for people.
    multiply_adds : float
        Of the network, for one image.
    plan : Plan
    images : int
        How many the whole work has.

    Raises
    ------
    UsageError
        If the compiled engine was asked for by name and there is no compiler.

    Examples
    --------
    >>> foresee_engine("xception", 8.4e9, Plan(), 100)
    Choice(engine='eager', why='too little work to win back the time for compiling')
    """
    wanted = _wanted(multiply_adds, plan, images)
    if wanted.engine != CompiledEngine.name or (missing := missing_compiler()) is None:
        return wanted
    if plan.engine == "compiled":
        raise _refusal(name, missing)
    return Choice(EagerEngine.name, missing)


def _wanted(multiply_adds: float, plan: Plan, images: int) -> Choice:
    if plan.device.startswith("cuda"):
        return Choice(CudaEngine.name, f"the device is {plan.device}")
    if plan.engine != "auto":
        return Choice(plan.engine, "asked for")
    if plan.before:
        return Choice(plan.before, "rows that are there were made with it")
    worth = is_worth_compiling(multiply_adds, images) if plan.worth_compiling is None else plan.worth_compiling
    if worth:
        return Choice(CompiledEngine.name, "enough work to win back the time for compiling")
    return Choice(EagerEngine.name, "too little work to win back the time for compiling")


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


def _refusal(name: str, why: str) -> UsageError:
    return UsageError(f"Backbone '{printable(name)}' cannot be compiled: {printable(why)}. Use --engine eager.")


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
