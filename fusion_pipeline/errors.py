"""Failures of fusion as exceptions, each kind with the exit code that scripts may rely on."""

from __future__ import annotations


class FusionError(Exception):
    """A failure that the user can act on: the message says what, where and what to do next.

    Attributes
    ----------
    exit_code : int
        What the command exits with when this error ends it.

    Examples
    --------
    >>> IntegrityError("File 'features/c/0/0' is damaged.").exit_code
    12
    """

    exit_code = 1


class UsageError(FusionError):
    """The call itself is wrong: an unknown option, key, backbone or gate."""

    exit_code = 2


class IncompleteError(FusionError):
    """Something that is needed is not there, or not finished yet."""

    exit_code = 10


class BusyError(FusionError):
    """Another process is at work on the same thing."""

    exit_code = 11


class IntegrityError(FusionError):
    """Stored bytes are not the bytes that were published."""

    exit_code = 12


class FormatError(FusionError):
    """A file or folder is not in a format that this version reads."""

    exit_code = 13


class StaleError(FusionError):
    """Stored results belong to another version of their inputs."""

    exit_code = 14


class StorageError(FusionError):
    """The storage below the cache failed: full, read-only, out of reach."""

    exit_code = 15


class DeniedError(StorageError):
    """The storage does not let this user read or write there."""


class BrokenFileError(StorageError):
    """The storage answers, and its disk cannot give this one file any more."""


class RefusedError(FusionError):
    """Something was refused because it cannot be trusted."""

    exit_code = 16


class UnusableDataError(FusionError):
    """The images or labels cannot be used as they are."""

    exit_code = 17


class ClusterError(FusionError):
    """A worker or the scheduler was lost."""

    exit_code = 18


def printable(text: str | bytes) -> str:
    r"""Return `text` safe for a terminal: control, bidirectional and undecodable characters are escaped.

    Parameters
    ----------
    text : str or bytes
        A file name or another string from outside.

    Returns
    -------
    str
        One line in which every character is printable.

    Examples
    --------
    >>> printable("rose\x1b[2J\n.jpg")
    'rose\\x1b[2J\\n.jpg'
    >>> printable(b"caf\xe9.jpg")
    'caf\\xe9.jpg'
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    return "".join(character if character.isprintable() else _escape(character) for character in text)


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8, as os.fsdecode keeps it
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")
