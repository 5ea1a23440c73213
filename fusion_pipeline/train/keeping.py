"""What a task found becomes a piece that can be kept, and a piece what the task found; a task becomes its digest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from fusion_pipeline.store.identity import digest
from fusion_pipeline.train.concat import ConcatResult, ConcatTask
from fusion_pipeline.train.experts import Expert, ExpertFit
from fusion_pipeline.train.gates.registry import make_gate
from fusion_pipeline.train.ledger import Entry, Ledger
from fusion_pipeline.train.pieces import Piece
from fusion_pipeline.train.tasks import ExpertResult, ExpertTask, GateResult, GateTask

Task = ExpertTask | GateTask | ConcatTask
Result = ExpertResult | GateResult | ConcatResult

VERSION = 5
"""Raised whenever a task would find something else than before: what was found then counts no more."""


def task_key(task: Task) -> str:
    """Return the digest of a task: of the manifests of its stores, and of all else that decides what it finds."""
    part = task.part
    content = {
        **{name: value for name, value in asdict(task).items() if name != "part"},
        "kind": type(task).__name__,
        "version": VERSION,
        "manifests": [
            [name, ref.manifest] for name, ref in zip(part.aligned.backbones, part.aligned.refs, strict=True)
        ],
        "split": asdict(part.split),
        "fold": part.fold,
        "grouping": part.grouping,
    }
    if isinstance(content.get("labels"), dict):
        content["labels"] = {
            **content["labels"],
            "vectors": None,
        }  # their sha256 says which they are, wherever they lie
    return digest(content)


def to_piece(result: Result) -> Piece:
    """Return a result in a form that can be kept."""
    facts: dict[str, Any] = {
        "fit_seconds": result.fit_seconds,
        "predict_seconds": result.predict_seconds,
        "ledger": _ledger(result.entries),
    }
    if isinstance(result, GateResult):
        arrays, settings = result.gate.state()
        kept = {f"gate.{name}": array for name, array in arrays.items()}
        kept |= {"probabilities": result.probabilities, "gate_weights": result.gate_weights}
        return Piece(kept, {**facts, "kind": "gate", "gate": result.gate.name, "settings": settings})
    if isinstance(result, ConcatResult):
        kept = {"out_of_fold": result.out_of_fold, "probabilities": result.probabilities}
        return Piece(kept, {**facts, "kind": "concat", "penalty": result.penalty})
    fit = result.fit
    kept = {
        "out_of_fold": fit.out_of_fold,
        "probabilities": result.probabilities,
        "weights": fit.expert.weights,
        "bias": fit.expert.bias,
    }
    losses = [[alpha, loss] for alpha, loss in fit.out_of_fold_nll.items()]
    return Piece(kept, {**facts, "kind": "expert", "alpha": fit.alpha, "losses": losses})


def from_piece(piece: Piece) -> Result | None:
    """Return the result that a piece keeps; None if it keeps none."""
    try:
        return _result(piece)
    except (KeyError, TypeError, ValueError):
        return None


def _result(piece: Piece) -> Result:
    arrays, facts = piece.arrays, piece.facts
    entries = tuple(Ledger.from_json(facts["ledger"]).entries.values()) if facts["ledger"] else ()
    by_order = {entry.name: entry for entry in entries}
    told = tuple(by_order[name] for name in facts["ledger"]["order"]) if facts["ledger"] else ()
    seconds = float(facts["fit_seconds"]), float(facts["predict_seconds"])
    probabilities = np.asarray(arrays["probabilities"])
    if facts["kind"] == "gate":
        own = {name.removeprefix("gate."): array for name, array in arrays.items() if name.startswith("gate.")}
        gate = make_gate(facts["gate"]).restore(own, facts["settings"])
        return GateResult(gate, probabilities, arrays["gate_weights"], *seconds, told)
    if facts["kind"] == "concat":
        return ConcatResult(arrays["out_of_fold"], probabilities, float(facts["penalty"]), *seconds, told)
    losses = {float(alpha): float(loss) for alpha, loss in facts["losses"]}
    expert = Expert(arrays["weights"], arrays["bias"])
    return ExpertResult(
        ExpertFit(expert, arrays["out_of_fold"], float(facts["alpha"]), losses), probabilities, *seconds, told
    )


def _ledger(entries: Sequence[Entry]) -> dict[str, Any]:
    if not entries:
        return {}
    ledger = Ledger.of(entries[0].fitted_on.n, entries)
    return {**ledger.to_json(), "order": [entry.name for entry in entries]}
