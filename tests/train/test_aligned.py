"""Aligned stores: only rows that are good everywhere, and only stores of one version of the images."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from fusion_pipeline.errors import IncompleteError, StaleError, UnusableDataError, UsageError
from fusion_pipeline.train.aligned import Aligned
from tests.train.made import make_features, make_labels, make_thumbnails, publish

LABELS = make_labels(4, 3)
FEATURES = {"alpha": make_features(LABELS, 5, 1), "beta": make_features(LABELS, 7, 2)}


def test_rows_that_are_bad_anywhere_are_left_out_everywhere(tmp_path: Path) -> None:
    spoilt = {name: matrix.copy() for name, matrix in FEATURES.items()}
    spoilt["beta"][5] = np.nan
    bad = {"alpha": [1], "beta": [5], "index": [7]}
    stores = Aligned.of(publish(tmp_path / "cache", spoilt, LABELS, bad=bad)).open()
    kept = [row for row in range(12) if row not in (1, 5, 7)]
    assert stores.usable_rows.tolist() == kept
    np.testing.assert_array_equal(stores.labels, LABELS[kept])
    for name, matrix in FEATURES.items():
        np.testing.assert_array_equal(stores.features(name), matrix[kept])
    np.testing.assert_array_equal(stores.thumbnails(32), make_thumbnails(12, 32)[kept])
    assert stores.sample_ids[:2] == ("000.jpg", "002.jpg")
    assert stores.class_names == ("class 0", "class 1", "class 2")


def test_a_record_is_small_and_opens_what_its_sender_saw(tmp_path: Path) -> None:
    aligned = Aligned.of(publish(tmp_path / "cache", FEATURES, LABELS))
    sent = pickle.dumps(aligned)
    assert len(sent) < 1000
    assert pickle.loads(sent).open().backbones == ("alpha", "beta")


def test_stores_of_other_images_are_refused_naming_both(tmp_path: Path) -> None:
    old, new = "sha256:" + "a" * 64, "sha256:" + "b" * 64
    first = publish(tmp_path / "cache", {"alpha": FEATURES["alpha"]}, LABELS, version=old)
    other = publish(tmp_path / "cache", {"beta": FEATURES["beta"][:9]}, LABELS[:9], version=new)
    with pytest.raises(StaleError, match=rf"'alpha' \(12 rows of {old}\) and 'beta' \(9 rows of {new}\)"):
        Aligned.of([*first, *other])


def test_no_store_and_one_backbone_twice_are_refused(tmp_path: Path) -> None:
    stores = publish(tmp_path / "cache", {"alpha": FEATURES["alpha"]}, LABELS)
    with pytest.raises(UsageError, match="no store"):
        Aligned.of([])
    with pytest.raises(UsageError, match="'alpha' was given 2 times"):
        Aligned.of(stores * 2)


def test_features_that_are_not_finite_are_refused_by_image(tmp_path: Path) -> None:
    spoilt = FEATURES["alpha"].copy()
    spoilt[3, 1] = np.inf
    stores = Aligned.of(publish(tmp_path / "cache", {"alpha": spoilt}, LABELS)).open()
    with pytest.raises(UnusableDataError, match=r"'alpha' for image '003\.jpg' are not finite"):
        stores.features("alpha")


def test_imagenet_probabilities_are_those_of_the_usable_rows(tmp_path: Path) -> None:
    labels = make_labels(6, 3)
    features = {name: make_features(labels, 5, seed) for seed, name in enumerate(("alpha", "beta"))}
    known = np.random.default_rng(0).dirichlet(np.ones(7), size=18).astype("float16")
    stores = publish(tmp_path, features, labels, bad={"beta": [2]}, imagenet={"alpha": known})
    aligned = Aligned.of(stores).open()
    np.testing.assert_array_equal(aligned.imagenet("alpha"), np.delete(known, 2, axis=0))
    with pytest.raises(IncompleteError, match="no array 'imagenet_probabilities'"):
        aligned.imagenet("beta")
