"""Who saw what: honest runs pass, each planted leak is found, and the record survives JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from fusion_pipeline.errors import FormatError, RefusedError
from fusion_pipeline.train.experts import fit_expert
from fusion_pipeline.train.folds import Split, inner_folds
from fusion_pipeline.train.ledger import Entry, Finding, Ledger, Source, check, refuse_leaks
from fusion_pipeline.train.row_order import row_order
from fusion_pipeline.train.row_sets import RowSet
from tests.train.made import make_features

LABELS = np.repeat(np.arange(3), 20)
N = len(LABELS)
NOTHING = RowSet.of([], N)
ONE_LEVEL = "one level of inner folds, as in any stacking"


def source(name: str, features: np.ndarray, origin: str = "sha256:store") -> Source:
    return Source(f"features {name}", origin, RowSet.of([len(name)], N).digest, row_order(features, LABELS))


def fold_ledger(fold: int, *, in_sample: bool = False, groups: np.ndarray | None = None) -> Ledger:
    """Return what one fold's tasks would tell: inner experts, penalty, expert, a guarded gate and a stacker."""
    train, test = Split().parts(LABELS, groups)[fold]
    inner = inner_folds(LABELS[train], 0, groups=None if groups is None else groups[train])
    rows, unseen = RowSet.of(train, N), RowSet.of(test, N)
    of_fold = f"fold {fold}"
    entries = []
    for number, (fit, held_out) in enumerate(inner):
        standardiser = f"standardiser a, {of_fold}, inner fold {number}"
        fitted_on = RowSet.of(train[fit], N)
        entries.append(Entry(standardiser, "standardiser", fitted_on, NOTHING, inputs=("features a",)))
        entries.append(
            Entry(
                f"expert a, {of_fold}, inner fold {number}",
                "expert",
                fitted_on,
                RowSet.of(train[held_out], N),
                inputs=("features a",),
                made_with=(standardiser,),
            )
        )
    out_of_fold = tuple(entry.name for entry in entries if entry.kind == "expert")
    expert = Entry(
        f"expert a, {of_fold}",
        "expert",
        rows,
        unseen | rows if in_sample else unseen,
        scored=True,
        inputs=("features a",),
        made_with=(f"penalty a, {of_fold}",),
    )
    second = {"fitted_on": rows, "predicts": unseen, "scored": True}
    learned_from = (expert.name,) if in_sample else out_of_fold
    return Ledger.of(
        N,
        [
            *entries,
            Entry(f"penalty a, {of_fold}", "penalty", rows, NOTHING, learned_from=out_of_fold),
            expert,
            Entry(f"stacker, {of_fold}", "stacker", **second, learned_from=learned_from, made_with=(expert.name,)),
        ],
        [Source("features a", "sha256:store", "sha256:bytes", 0.1)],
    )


def test_an_honest_run() -> None:
    ledger = Ledger.merged([fold_ledger(0), fold_ledger(1), fold_ledger(1)])
    assert len(ledger.entries) == 2 * (2 * 5 + 3)
    assert check(ledger) == []
    refuse_leaks(ledger)


def test_a_stacker_on_in_sample_predictions() -> None:
    ledger = Ledger.merged([fold_ledger(0), fold_ledger(1, in_sample=True)])
    assert [(finding.entry, finding.rows, finding.path) for finding in check(ledger)] == [
        ("expert a, fold 1", 30, ("expert a, fold 1",))
    ]
    with pytest.raises(RefusedError, match="'expert a, fold 1' predicted 30 rows that it was fitted on"):
        refuse_leaks(ledger)


def test_a_stacker_on_in_sample_predictions_that_are_not_declared() -> None:
    """The expert says that it predicted test rows only; then nobody made what the stacker learned from."""
    ledger = fold_ledger(0)
    stacker = replace(ledger.entries["stacker, fold 0"], learned_from=("expert a, fold 0",))
    found = check(Ledger.of(N, [*(e for e in ledger.entries.values() if e.kind != "stacker"), stacker], ledger.sources))
    assert [(finding.entry, finding.problem) for finding in found] == [
        ("stacker, fold 0", "learned from predictions of 30 rows that nobody declared")
    ]


def test_a_feature_that_is_the_rows_number() -> None:
    """It makes a perfect expert out of nothing, out of sample too, and its own column gives it away."""
    noise = make_features(LABELS, 4, seed=0, strength=0.0).astype(float)
    planted = np.column_stack([noise, np.arange(N)])
    train, test = Split().parts(LABELS)[0]
    expert = fit_expert(planted[train], LABELS[train], 3, seed=0).expert
    assert (expert.probabilities(planted[test]).argmax(axis=1) == LABELS[test]).mean() > 0.8
    entry = Entry("expert b", "expert", RowSet.of(train, N), RowSet.of(test, N), True, ("features b",))
    assert check(Ledger.of(N, [entry], [source("b", noise)])) == []
    (found,) = check(Ledger.of(N, [entry], [source("b", planted)]))
    assert (found.entry, found.problem) == (
        "features b",
        "gives the number of the row away (100 %) to 1 parameters",
    )
    assert found.path == ("expert b",)


def test_inputs_that_nobody_vouches_for() -> None:
    ledger = fold_ledger(0)
    noise = make_features(LABELS, 4, seed=0)
    assert {finding.problem for finding in check(replace(ledger, sources=()))} == {
        "was fitted on 'features a', an input that nobody declared"
    }
    nowhere = [replace(ledger.sources[0], origin="")]
    assert [finding.problem for finding in check(Ledger.of(N, [], nowhere))] == ["is an input that comes from nowhere"]
    two = Ledger.merged(
        [Ledger.of(N, [], [source("b", noise)]), Ledger.of(N, [], [source("b", noise, "sha256:other")])]
    )
    assert check(two) == []  # the same bytes from two manifests
    other = replace(source("b", noise), digest="sha256:other")
    assert [finding.entry for finding in check(Ledger.of(N, [], [source("b", noise), other]))] == ["features b"]


def test_a_leak_far_back() -> None:
    """A PCA of all rows under an expert under a gate: all that predict test rows are named, with the way to it."""
    train, test = (RowSet.of(part, N) for part in Split().parts(LABELS)[0])
    everything = RowSet.of(range(N), N)
    entries = [
        Entry("pca", "pca", everything, NOTHING),
        Entry("expert", "expert", train, test, True, made_with=("pca",)),
        Entry("gate", "gate", train, test, True, made_with=("expert",)),
    ]
    assert check(Ledger.of(N, entries)) == [
        Finding("expert", "predicted 30 rows that it saw through 'pca'", 30, ("expert", "pca")),
        Finding("gate", "predicted 30 rows that it saw through 'pca'", 30, ("gate", "expert", "pca")),
    ]


def test_what_is_accepted_must_be_neither_scored_nor_direct() -> None:
    """A guard judges a gate on rows that took part in the experts' predictions of others (decision 0003)."""
    ledger = fold_ledger(0)
    learned_from = tuple(name for name in ledger.entries if "inner" in name and name.startswith("expert"))
    train = ledger.entries["expert a, fold 0"].fitted_on.rows
    learned, judged = RowSet.of(train[::2], N), RowSet.of(train[1::2], N)
    crossed = Entry("gate, part 1", "gate", learned, judged, learned_from=learned_from, accepted=ONE_LEVEL)
    for entry, reason in (
        (crossed, ONE_LEVEL),
        (replace(crossed, accepted=""), ""),
        (replace(crossed, scored=True), ""),
        (replace(crossed, predicts=learned), ""),
    ):
        whole = Ledger.of(N, [*ledger.entries.values(), entry], ledger.sources)
        (found,) = check(whole)
        assert (found.entry, found.accepted) == ("gate, part 1", reason)
        if reason:
            refuse_leaks(whole)
        else:
            with pytest.raises(RefusedError, match="'gate, part 1' predicted 15 rows that it"):
                refuse_leaks(whole)


def test_circles_end() -> None:
    rows = RowSet.of([0], N), RowSet.of([1], N)
    first = Entry("first", "expert", rows[0], rows[1], made_with=("second",))
    second = Entry("second", "penalty", rows[1], NOTHING, made_with=("first",))
    assert [finding.path for finding in check(Ledger.of(N, [first, second]))] == [("first", "second")]


def test_near_duplicates_of_a_row_are_that_row() -> None:
    groups = np.arange(N) // 2
    plain = Ledger.merged(fold_ledger(fold) for fold in range(2))
    assert check(plain) == []
    assert {finding.entry for finding in check(plain, groups)} >= {"expert a, fold 0", "expert a, fold 1"}
    assert check(Ledger.merged(fold_ledger(fold, groups=groups) for fold in range(2)), groups) == []


def test_what_has_no_entry() -> None:
    lonely = Entry("gate", "gate", NOTHING, NOTHING, made_with=("expert x",), learned_from=("expert y",))
    assert [finding.problem for finding in check(Ledger.of(N, [lonely]))] == [
        "was fitted from 'expert x', which has no entry",
        "was fitted from 'expert y', which has no entry",
    ]


def test_tasks_that_contradict_each_other() -> None:
    ledger = fold_ledger(0)
    other = replace(ledger.entries["stacker, fold 0"], fitted_on=NOTHING)
    with pytest.raises(ValueError, match="Two tasks tell differently what 'stacker, fold 0' saw"):
        Ledger.merged([ledger, Ledger.of(N, [other])])
    with pytest.raises(ValueError, match="is about 5 rows, but the ledger about 60"):
        Ledger.of(N, [Entry("x", "expert", RowSet.of([0], 5), RowSet.of([1], 5))])


def test_there_and_back() -> None:
    ledger = Ledger.merged([fold_ledger(0), fold_ledger(1)])
    text = json.dumps(ledger.to_json(), sort_keys=True)
    assert Ledger.from_json(json.loads(text)) == ledger
    turned = Ledger.merged([fold_ledger(1), fold_ledger(0)])
    assert json.dumps(turned.to_json(), sort_keys=True) == text  # whichever task ends first
    assert len(ledger.to_json()["rows"]) < len(ledger.entries)


def test_a_ledger_that_was_changed_is_refused() -> None:
    content = json.loads(json.dumps(fold_ledger(0).to_json()))
    digest = next(iter(content["rows"]))
    for change in (
        {"format": 2},
        {"rows": {**content["rows"], digest: RowSet.of([0], N).to_json()}},
        {"rows": {}},
        {"entries": [{"name": "x"}]},
        {"sources": [{"name": "x"}]},
        {"n": 5},
    ):
        with pytest.raises(FormatError, match="The ledger cannot be read"):
            Ledger.from_json({**content, **change})
