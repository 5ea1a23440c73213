"""SVMs on concatenations: the same classifiers as plain scikit-learn's, tuned inside the training rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.svm import LinearSVC

from fusion_pipeline.errors import RefusedError
from fusion_pipeline.train.aligned import Aligned
from fusion_pipeline.train.concat import SVMS, ConcatTask, run_concat
from fusion_pipeline.train.folds import Split
from fusion_pipeline.train.keeping import from_piece, to_piece
from fusion_pipeline.train.ledger import Ledger, Source, check, refuse_leaks
from fusion_pipeline.train.parts import Part
from fusion_pipeline.train.sightings import features_source
from tests.train.made import make_aligned, make_features, make_labels, publish

SPLIT = Split(2, 3)


@pytest.fixture(scope="module")
def aligned(tmp_path_factory: pytest.TempPathFactory) -> Aligned:
    return make_aligned(tmp_path_factory.mktemp("stores") / "cache")


def task(aligned: Aligned, method: str, mode: str = "tuned", fold: int = 0) -> ConcatTask:
    return ConcatTask(Part(aligned, SPLIT, fold), method, mode, 0)


@pytest.mark.parametrize("method", SVMS)
@pytest.mark.parametrize("mode", ["tuned", "paper"])
def test_it_tells_probabilities_of_unseen_rows(aligned: Aligned, method: str, mode: str) -> None:
    stores = aligned.open()
    (train, test) = SPLIT.parts(stores.labels)[0]
    found = run_concat(task(aligned, method, mode))
    for probabilities, rows in ((found.probabilities, test), (found.out_of_fold, train)):
        assert probabilities.shape == (len(rows), 3)
        assert np.allclose(probabilities.sum(axis=1), 1.0)
        assert (probabilities.argmax(axis=1) == stores.labels[rows]).mean() > 0.6


@pytest.mark.parametrize("method", SVMS)
def test_the_paper_s_are_linear_svc_s(aligned: Aligned, method: str) -> None:
    stores = aligned.open()
    (train, test) = SPLIT.parts(stores.labels)[0]
    X = np.hstack([stores.features(name).astype(float) for name in stores.backbones])
    seen, unseen = X[train], X[test]
    if method == "concat-pca-svm":
        axes = PCA(min(1000, len(train) - 1, X.shape[1])).fit(seen)
        seen, unseen = axes.transform(seen), axes.transform(unseen)
    expected = LinearSVC(C=1.0, tol=1e-8, max_iter=100_000).fit(seen, stores.labels[train]).predict(unseen)
    assert (run_concat(task(aligned, method, "paper")).probabilities.argmax(axis=1) == expected).mean() > 0.98


@pytest.mark.parametrize("method", SVMS)
def test_it_says_who_saw_what(aligned: Aligned, method: str) -> None:
    found = [run_concat(task(aligned, method, fold=fold)) for fold in range(2)]
    entries = [entry for result in found for entry in result.entries]
    sources = [Source(features_source(name), "a manifest", "a digest", 0.0) for name in aligned.backbones]
    ledger = Ledger.of(len(aligned.open().labels), entries, sources)
    assert check(ledger) == []
    assert {row for entry in entries if entry.scored for row in entry.predicts.rows.tolist()} == set(range(ledger.n))


def test_components_of_all_rows_are_the_paper_s_and_are_found(aligned: Aligned) -> None:
    stores = aligned.open()
    (train, test) = SPLIT.parts(stores.labels)[0]
    X = np.hstack([stores.features(name).astype(float) for name in stores.backbones])
    scores = PCA(X.shape[1]).fit_transform(X)
    expected = LinearSVC(C=1.0, tol=1e-8, max_iter=100_000).fit(scores[train], stores.labels[train])
    found = run_concat(task(aligned, "concat-pca-svm", "transductive"))
    assert (found.probabilities.argmax(axis=1) == expected.predict(scores[test])).mean() > 0.98
    sources = [Source(features_source(name), "a manifest", "a digest", 0.0) for name in aligned.backbones]
    ledger = Ledger.of(len(stores.labels), found.entries, sources)
    assert any("saw through 'components of" in finding.problem for finding in check(ledger))
    refuse_leaks(ledger)
    hidden = [replace(entry, leaks="") for entry in found.entries]
    with pytest.raises(RefusedError, match="saw through 'components of"):
        refuse_leaks(Ledger.of(ledger.n, hidden, sources))


@pytest.mark.parametrize("method", SVMS)
@pytest.mark.parametrize("mode", ["tuned", "paper"])
@pytest.mark.parametrize("width", [5, 90], ids=["fewer columns than rows", "more"])
def test_changing_test_rows_changes_no_fitted_byte(tmp_path: Path, method: str, mode: str, width: int) -> None:
    """Some test rows change; what the others are told, and all that the training rows say of each other, does not."""
    labels = make_labels(12, 3)
    features = {name: make_features(labels, width, seed) for seed, name in enumerate(("alpha", "beta"))}
    _, test = SPLIT.parts(labels)[0]
    changed = {name: matrix.copy() for name, matrix in features.items()}
    for matrix in changed.values():
        matrix[test[::2]] = 9
    found = []
    for folder, matrices in (("one", features), ("two", changed)):
        result = run_concat(task(Aligned.of(publish(tmp_path / folder, matrices, labels)), method, mode))
        found.append((result.penalty, result.out_of_fold.tobytes(), result.probabilities[1::2].tobytes()))
    assert found[0] == found[1]


def test_what_it_found_can_be_kept(aligned: Aligned, tmp_path: Path) -> None:
    found = run_concat(task(aligned, "concat-svm"))
    again = from_piece(to_piece(found))
    assert type(again) is type(found)
    assert np.array_equal(again.probabilities, found.probabilities)
    assert (again.entries, again.fit_seconds) == (found.entries, found.fit_seconds)
