"""A ledger and the stores that its entries name become the ledger with where each input comes from."""

from __future__ import annotations

import hashlib

import numpy as np

from fusion_pipeline.train.aligned import Aligned
from fusion_pipeline.train.ledger import Ledger, Source
from fusion_pipeline.train.row_order import row_order
from fusion_pipeline.train.sightings import features_source


def with_sources(ledger: Ledger, aligned: Aligned) -> Ledger:
    """Return a ledger with its sources: the features of every backbone, by manifest, bytes, and what they give away.

    Parameters
    ----------
    ledger : Ledger
    aligned : Aligned
        The stores.
    """
    stores = aligned.open()
    sources = []
    for backbone, ref in zip(aligned.backbones, aligned.refs, strict=True):
        features = stores.features(backbone)
        found = hashlib.sha256(np.ascontiguousarray(features).tobytes()).hexdigest()
        told = row_order(features, stores.labels)
        sources.append(Source(features_source(backbone), str(ref.manifest), f"sha256:{found}", told))
    return Ledger.of(ledger.n, ledger.entries.values(), sources)
