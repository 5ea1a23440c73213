"""Experts of known competence, for the tests of gates."""

from __future__ import annotations

import numpy as np

from fusion_pipeline.train.gates.gate import GateInputs

N_CLASSES = 3


def opinions(right: np.ndarray, labels: np.ndarray, confidence: float = 0.8) -> np.ndarray:
    """Return probabilities (n, K, C) of experts that are right where `right` (n, K) says so."""
    told = np.where(right, labels[:, None], (labels[:, None] + 1) % N_CLASSES)
    rest = (1 - confidence) / (N_CLASSES - 1)
    return np.eye(N_CLASSES)[told] * (confidence - rest) + rest


def telling_inputs(n: int = 90, size: int = 8) -> tuple[GateInputs, np.ndarray, np.ndarray]:
    """Return inputs whose first feature, and whose thumbnail's brightness, tell which of two experts is right."""
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(N_CLASSES), n // N_CLASSES)
    first_is_right = generator.random(n) < 0.5
    features = generator.normal(size=(n, 6)).astype(np.float16)
    features[:, 0] += np.where(first_is_right, 3, -3)
    thumbnails = generator.integers(0, 60, size=(n, size, size, 3), dtype=np.uint8)
    thumbnails[first_is_right] += 180
    probabilities = opinions(np.stack([first_is_right, ~first_is_right], axis=1), labels)
    return GateInputs(n, (features, features[:, :3]), thumbnails), probabilities, labels


def idle_inputs(n: int = 90, size: int = 8) -> tuple[GateInputs, np.ndarray, np.ndarray]:
    """Return inputs that tell nothing about which of two equally good experts is right."""
    generator = np.random.default_rng(1)
    labels = np.repeat(np.arange(N_CLASSES), n // N_CLASSES)
    features = generator.normal(size=(n, 6)).astype(np.float16)
    thumbnails = generator.integers(0, 256, size=(n, size, size, 3), dtype=np.uint8)
    probabilities = opinions(generator.random((n, 2)) < 0.7, labels)
    return GateInputs(n, (features, features[:, :3]), thumbnails), probabilities, labels
