"""Extracts into a file system that is too small, makes it larger, and extracts again: ``FOLDER KILOBYTES ARGUMENT...``.

To be run in a mount name space of its own, as ``unshare --map-root-user --mount`` gives: the file system is gone
afterwards. Writes a JSON object with the exit codes, the last line of the first run's messages, and the content digests
of the stores.
"""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path

from fusion_pipeline.commands import main
from tests.faults.desk import published


def extract(arguments: list[str]) -> tuple[int, str]:
    """Return the exit code and the messages of a command."""
    with contextlib.redirect_stderr(io.StringIO()) as errors, contextlib.redirect_stdout(io.StringIO()):
        try:
            main(arguments, prog_name="fusion")
        except SystemExit as end:
            return int(end.code or 0), errors.getvalue()
    return 0, errors.getvalue()


if __name__ == "__main__":
    folder, kilobytes, *command = sys.argv[1:]
    Path(folder).mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "none", folder], check=True)
    full, message = extract(command)
    subprocess.run(["mount", "-o", "remount,size=64m", folder], check=True)
    again, _ = extract(command)
    line = message.splitlines()[-1] if message else ""
    json.dump({"full": full, "line": line, "again": again, "published": published(Path(folder))}, sys.stdout)
