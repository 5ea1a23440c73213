"""A data set and a row become the accuracy that the paper printed for it in its Table 2.

Resheff, Lieder and Hope, "All Together Now! The Benefits of Adaptively Fusing Pre-trained Deep Representations",
Table 2: percent of test images, by a half of the images after training on the other one.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

DATASETS = ("actions40", "cub200", "caltech101", "caltech256", "flowers102", "flowers17", "pets")
"""In the order of the columns of `ACCURACIES`."""

HALF_WIDTHS: Mapping[str, float] = MappingProxyType(
    dict(zip(DATASETS, (1.1, 1.1, 0.65, 0.5, 0.7, 1.6, 0.75), strict=True))
)
"""Half the width of each column's 95 % intervals, in percent, from the number of its test images."""

ACCURACIES: Mapping[tuple[str, bool], tuple[float, ...]] = MappingProxyType(
    {
        ("inception_v3", False): (78.72, 63.12, 92.02, 83.36, 89.06, 92.65, 92.50),
        ("resnet50", False): (75.22, 63.10, 92.94, 76.55, 93.36, 92.94, 90.69),
        ("vgg16", False): (68.42, 56.60, 90.62, 71.96, 83.96, 87.94, 88.39),
        ("vgg19", False): (69.45, 56.28, 90.57, 72.78, 83.00, 88.38, 87.31),
        ("xception", False): (80.00, 67.80, 92.34, 85.81, 90.79, 90.74, 93.34),
        ("concat-svm", False): (78.56, 63.86, 93.57, 84.93, 92.38, 93.38, 91.72),
        ("concat-pca-svm", False): (74.49, 56.72, 90.50, 80.71, 91.82, 94.26, 89.77),
        ("stacking", False): (81.56, 73.13, 94.05, 87.01, 94.46, 93.97, 94.42),
        ("embedding", False): (81.62, 73.02, 94.60, 87.48, 94.90, 95.15, 94.21),
        ("cnn32", False): (81.91, 73.01, 94.49, 87.26, 94.63, 95.00, 94.07),
        ("cnn64", False): (81.85, 72.70, 94.44, 87.36, 94.82, 95.29, 94.32),
        ("embedding", True): (81.87, 73.11, 94.53, 87.34, 94.85, 94.85, 94.21),
        ("cnn32", True): (81.85, 73.14, 94.60, 87.30, 94.90, 95.29, 94.18),
        ("cnn64", True): (81.64, 73.28, 94.62, 87.36, 94.92, 95.15, 94.32),
    }
)
"""Percent by row, and whether the row has a label embedding."""


def published_accuracy(dataset: str, method: str, *, label_embedding: bool = False) -> float | None:
    """Return what the paper printed, in percent; None where it printed nothing.

    Parameters
    ----------
    dataset : str
        One of `DATASETS`.
    method : str
        A backbone or a gate, by its name here.
    label_embedding : bool
        Whether the row has one: the paper does not say which of the two that it describes.

    Examples
    --------
    >>> published_accuracy("flowers17", "cnn64", label_embedding=True)
    95.15
    >>> published_accuracy("flowers17", "average") is None
    True
    """
    row = ACCURACIES.get((method, label_embedding))
    return None if row is None or dataset not in DATASETS else row[DATASETS.index(dataset)]
