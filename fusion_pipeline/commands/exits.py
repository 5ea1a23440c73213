"""Exit codes for what ends a command without being a failure of fusion's own kinds, which `errors` numbers."""

from __future__ import annotations

from fusion_pipeline.errors import FusionError, IntegrityError

UNEXPECTED = FusionError.exit_code
"""A fault of fusion."""

SKIPPED = 3
"""Done, but some images could not be used."""

DAMAGED = IntegrityError.exit_code
"""Verified, and damage was found."""

INTERRUPTED = 130
"""SIGINT: as a shell has it, 128 and the signal's number."""

SHOWN = 20
"""How many of a long list are shown to people; a machine gets them all."""

BROKEN_PIPE = 141
"""SIGPIPE: the reader of the output went away."""

TERMINATED = 143
"""SIGTERM."""
