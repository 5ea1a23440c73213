"""Get the best classifier out of a shelf of frozen pretrained backbones.

Stage one, `fusion_pipeline.extract`, runs each backbone once over a labelled folder of images and writes its features
into stores (`fusion_pipeline.store`) that a team shares. Stage two, `fusion_pipeline.train`, trains experts and gates
from those stores.

Examples
--------
>>> from fusion_pipeline import FusionClassifier
>>> FusionClassifier(gate="average").get_params()["gate"]
'average'
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fusion_pipeline.store import Cache, Store
    from fusion_pipeline.train.classifier import FusionClassifier
    from fusion_pipeline.train.expert_classifier import ExpertClassifier
    from fusion_pipeline.train.gate_classifier import GateClassifier
    from fusion_pipeline.train.side_by_side import SideBySide

__version__ = "0.1.0"

__all__ = ["Cache", "ExpertClassifier", "FusionClassifier", "GateClassifier", "SideBySide", "Store", "__version__"]

# Imported on first use: `fusion --help` must answer without loading zarr, torch or scikit-learn.
_HOMES = {
    "Cache": "fusion_pipeline.store",
    "Store": "fusion_pipeline.store",
    "ExpertClassifier": "fusion_pipeline.train.expert_classifier",
    "FusionClassifier": "fusion_pipeline.train.classifier",
    "GateClassifier": "fusion_pipeline.train.gate_classifier",
    "SideBySide": "fusion_pipeline.train.side_by_side",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib  # noqa: PLC0415 - only this rare path needs it

    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
