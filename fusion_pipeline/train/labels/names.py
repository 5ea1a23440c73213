"""A text file of the package becomes the names of the 1000 ImageNet classes, in the order of the stores' columns."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

_FILE = "imagenet_classes.txt"


@cache
def imagenet_classes() -> tuple[str, ...]:
    """Return the names of the ImageNet classes, as torchvision publishes them.

    Returns
    -------
    tuple of str
        1000 different names.

    Examples
    --------
    >>> names = imagenet_classes()
    >>> len(names), names[0], names[340], names[999]
    (1000, 'tench', 'zebra', 'toilet tissue')
    """
    text = files(__package__).joinpath(_FILE).read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if not line.startswith("#"))
