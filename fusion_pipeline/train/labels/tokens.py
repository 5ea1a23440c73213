"""A class name becomes the words to look up: the whole name as one word first, else its parts."""

from __future__ import annotations

import re
from collections.abc import Callable

# Word vectors know some compounds whole, spelt in one of these ways.
_JOINS = ("_", "-")

_POSSESSIVE = re.compile(r"['\u2019]s\b")
_WORD = re.compile(r"[^\W_]+(?:-[^\W_]+)*")


def _clean(name: str) -> str:
    """Return a name in lower case without possessives and the punctuation inside words."""
    return re.sub(r"['\u2019.]", "", _POSSESSIVE.sub("", name.lower()))


def whole_words(name: str) -> tuple[str, ...]:
    """Return the spellings of a whole name as one word, the likeliest first.

    Examples
    --------
    >>> whole_words("Merry-go-round"), whole_words("tench")
    (('merry_go_round', 'merry-go-round'), ('tench',))
    """
    parts = [part for word in _WORD.findall(_clean(name)) for part in word.split("-")]
    return tuple(dict.fromkeys(join.join(parts) for join in _JOINS)) if parts else ()


def wanted_words(name: str) -> frozenset[str]:
    """Return every word that `found_words` may ask for.

    Examples
    --------
    >>> sorted(wanted_words("go-kart track"))
    ['go', 'go-kart', 'go-kart-track', 'go_kart_track', 'kart', 'track']
    """
    words = _WORD.findall(_clean(name))
    return frozenset((*whole_words(name), *words, *(part for word in words for part in word.split("-"))))


def found_words(name: str, known: Callable[[str], bool]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the words of a name that have a vector, and those that have none.

    A name that is known whole is that one word (the paper's footnote in Section 3.4.1); else a hyphenated word that is
    known whole is one word; else its parts are.

    Parameters
    ----------
    name : str
    known : callable
        Whether a word has a vector.

    Returns
    -------
    found, missing : tuple of str
        In the order of the name; both empty for a name without letters or digits.

    Examples
    --------
    >>> vocabulary = {"go-kart", "track", "yellow", "lady", "slipper"}
    >>> found_words("go-kart track", vocabulary.__contains__)
    (('go-kart', 'track'), ())
    >>> found_words("Yellow lady's slipper-flower", vocabulary.__contains__)
    (('yellow', 'lady', 'slipper'), ('flower',))
    """
    for word in whole_words(name):
        if known(word):
            return (word,), ()
    pieces: list[str] = []
    for word in _WORD.findall(_clean(name)):
        pieces += [word] if known(word) else word.split("-")
    return tuple(piece for piece in pieces if known(piece)), tuple(piece for piece in pieces if not known(piece))
