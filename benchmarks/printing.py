"""What every benchmark prints the same way: the machine, verdicts, and the lines of its parts as they come."""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version

from threadpoolctl import threadpool_info

ALL = "all"


def make_parser(documentation: str | None) -> argparse.ArgumentParser:
    """Return a parser whose help is a script's own documentation, with its line breaks."""
    return argparse.ArgumentParser(description=documentation, formatter_class=argparse.RawDescriptionHelpFormatter)


def machine() -> str:
    """Return in one line what the numbers were taken on."""
    return f"{os.cpu_count()} processors, {platform.system()} {platform.release()}, Python {platform.python_version()}"


def blas_threads() -> str:
    return f"{max(pool['num_threads'] for pool in threadpool_info())} BLAS threads"


def versions(*libraries: str) -> str:
    return ", ".join(f"{name} {version(name)}" for name in libraries)


def reached(holds: bool) -> str:
    """Return what every target ends with."""
    return "reached" if holds else "MISSED"


def verdict(holds: bool, wanted: str) -> str:
    """Return a target with whether it was reached, such as ``(at least 10: reached)``."""
    return f"({wanted}: {reached(holds)})"


def print_parts(chosen: str, parts: Mapping[str, Callable[[], Iterable[str]]]) -> None:
    """Print each part that is chosen, or all of them, under its name, line by line as the lines are found."""
    for part, lines in parts.items():
        if chosen in (ALL, part):
            print(f"\n{part}", flush=True)
            for line in lines():
                print(f"  {line}", flush=True)
