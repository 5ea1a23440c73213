r"""Names from outside become text that cannot reorder, hide or command what stands around it.

A file or a class may be called anything: right-to-left letters turn the rest of a sentence around, control characters
do worse. A name is escaped by `printable` and put between the marks that isolate it (U+2068 and U+2069). As these marks
in a name itself are escaped, whoever writes HTML may take them for ``<bdi>`` and ``</bdi>``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from unicodedata import bidirectional

from markupsafe import Markup, escape

from fusion_pipeline.errors import printable

_RIGHT_TO_LEFT = ("R", "AL")
_OPEN, _CLOSE = "\u2068", "\u2069"


def named(name: str) -> str:
    r"""Return a name from outside as a part of a sentence.

    Examples
    --------
    >>> named("rose\u202egpj")
    '\u2068rose\\u202egpj\u2069'
    """
    return f"{_OPEN}{printable(name)}{_CLOSE}"


def isolated(sentence: str, names: Iterable[str]) -> str:
    r"""Return a sentence that has printable names in it with marks around those that are written from right to left.

    Examples
    --------
    >>> isolated("\u05d0 and b are confused.", ["b", "\u05d0"])
    '\u2068\u05d0\u2069 and b are confused.'
    """
    turned = {printable(name) for name in names if any(bidirectional(sign) in _RIGHT_TO_LEFT for sign in name)}
    pattern = "|".join(re.escape(name) for name in sorted(turned, key=len, reverse=True))
    return re.sub(pattern, lambda match: named(match[0]), sentence) if turned else sentence


def as_text(sentence: str) -> str:
    """Return a sentence for a terminal or an attribute: without the marks, and with plain blanks."""
    return sentence.replace(_OPEN, "").replace(_CLOSE, "").replace("\N{NO-BREAK SPACE}", " ")


def as_html(sentence: str) -> Markup:
    """Return a sentence for HTML: escaped, each name isolated.

    Examples
    --------
    >>> as_html(f"{named('<b>')} & co")
    Markup('<bdi>&lt;b&gt;</bdi> &amp; co')
    """
    return Markup(str(escape(sentence)).replace(_OPEN, "<bdi>").replace(_CLOSE, "</bdi>"))  # noqa: S704  escaped just now


def name_html(name: str) -> Markup:
    """Return a name alone, for HTML."""
    return as_html(named(name))
