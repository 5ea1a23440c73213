"""Measures become the JSON document that scripts read."""

from __future__ import annotations

from dataclasses import asdict, is_dataclass
from math import isfinite
from typing import Any

import numpy as np

from fusion_pipeline.analysis.measures import Measures


def describe(found: Measures) -> dict[str, Any]:
    """Return all that was measured of a run, but for what has a row for each image or subset: tables have that.

    Names of classes stand where measures have labels, and names of images where they have numbers. Nothing in it says
    where the run was.
    """
    run, names, images = found.run, found.votes.class_names, found.run.predictions.sample_ids
    return {
        "dataset": run.dataset,
        "run": run.folder.name,
        "protocol": dict(run.summary["protocol"]),
        "images": len(run.predictions.labels),
        "tested": len(np.unique(found.votes.images)),
        "votes": len(found.votes.labels),
        "backbones": list(found.votes.experts),
        "fused": found.moe_name or None,
        "agreement": plain(found.agreement),
        "correct": plain(found.correct),
        "class_f1": [
            {"class": names[each.label], "winner": each.winner, "margin": each.margin}
            for each in found.class_f1.examples
        ],
        "class_wins": plain(found.class_wins),
        "confused": _confused(found),
        "distinct_votes": plain(found.distinct),
        "trust": _trust(found, images),
        "subsets": {
            "tried": len(found.subsets.tried),
            "exhaustive": found.subsets.exhaustive,
            "best": plain(found.subsets.best),
            "front": plain(found.subsets.front),
        },
        "calibration": plain(found.calibration),
        "notes": list(found.notes),
    }


def plain(value: Any) -> Any:
    """Return a record, an array or a sequence as JSON has it; what is not a finite number is null.

    Examples
    --------
    >>> plain((np.array([0.5, np.nan]), {"n": np.int64(3)}))
    [[0.5, None], {'n': 3}]
    """
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    return None if isinstance(value, float) and not isfinite(value) else value


def _confused(found: Measures) -> dict[str, Any] | None:
    pair, names = found.confused, found.votes.class_names
    if pair is None:
        return None
    return {
        "classes": [names[pair.first], names[pair.second]],
        "confusions": pair.confusions,
        "votes": {
            names[label]: {
                expert: dict(zip(("first", "second", "other"), counts, strict=True))
                for expert, counts in zip(pair.experts, of_class.tolist(), strict=True)
            }
            for label, of_class in zip((pair.first, pair.second), pair.counts, strict=True)
        },
    }


def _trust(found: Measures, images: tuple[str, ...]) -> dict[str, Any] | None:
    trust = found.trust
    if trust is None:
        return None
    ends = {
        side: {
            expert: [{"image": images[each.image], "weight": each.weight} for each in of_expert]
            for expert, of_expert in zip(trust.experts, of_side, strict=True)
        }
        for side, of_side in (("most", trust.most), ("least", trust.least))
    }
    return {
        "row": trust.row,
        "parts": trust.parts,
        "averaged": trust.averaged,
        "weights": dict(zip(trust.experts, plain(trust.overall), strict=True)),
        "effective_experts": plain(np.nanmean(trust.effective_experts)),
        **ends,
    }
