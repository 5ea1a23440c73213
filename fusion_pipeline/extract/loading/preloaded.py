"""The modules that decoding takes into the server that forks decoding processes, which is not interrupted meanwhile."""

from __future__ import annotations

import signal
from importlib import import_module

# Importing takes seconds, and a server begins to ignore Ctrl-C only after that. The processes that it forks get this
# back, for not all of them need be ours.
_before = signal.signal(signal.SIGINT, signal.SIG_IGN)
try:
    import_module("fusion_pipeline.extract.loading.decoding_process")
    import_module("timm.data.transforms_factory")
finally:
    signal.signal(signal.SIGINT, _before)
