"""Turns a place below a folder into whether a symbolic link leads there."""

from __future__ import annotations

import os


class Links:
    """What is known of the links below a folder; above it, links are the user's own.

    Parameters
    ----------
    base : bytes
        The folder, absolute.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     os.mkdir(f"{folder}/real")
    ...     os.symlink("real", f"{folder}/linked")
    ...     links = Links(os.fsencode(folder))
    ...     [links.lead_to(os.fsencode(f"{folder}/{name}/1.jpg")) for name in ("real", "linked", "../elsewhere")]
    [False, True, False]
    """

    def __init__(self, base: bytes) -> None:
        self._base = os.path.join(base, b"")
        self._is_linked: dict[bytes, bool] = {}

    def lead_to(self, place: bytes) -> bool:
        """Tell whether a folder between the base and a place is a link; the place itself is not looked at."""
        folder = os.path.dirname(place)
        if len(folder) < len(self._base) or not folder.startswith(self._base):
            return False
        if folder not in self._is_linked:
            self._is_linked[folder] = os.path.islink(folder) or self.lead_to(folder)
        return self._is_linked[folder]
