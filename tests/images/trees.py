"""Turns relative names into a tree of empty files."""

from __future__ import annotations

import os
from pathlib import Path


def plant(root: Path, *names: str | bytes) -> Path:
    """Create `root` and an empty file below it for each of `names`; return `root`."""
    root.mkdir(parents=True, exist_ok=True)
    for name in names:
        path = os.path.join(os.fsencode(root), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb"):
            pass
    return root
