"""Shorthand for extractions of tiny backbones in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fusion_pipeline.extract.options import Options
from fusion_pipeline.extract.run import Extraction, extract
from fusion_pipeline.images.index import list_image_folder
from fusion_pipeline.store import Cache
from tests.builders import Tiny

OPTIONS = {"device": "cpu", "workers": 2, "partition_rows": 4, "batch_size": 4}


def run(data: Path, cache: Path, *backbones: Tiny, **options: Any) -> Extraction:
    """Extract in this process, with small partitions."""
    records = [tiny.backbone for tiny in backbones]
    return extract(list_image_folder(data), records, Cache(cache), Options(**{**OPTIONS, **options}))


def contents(extraction: Extraction) -> list[str]:
    """Return the content digests of all stores that an extraction ended with."""
    return [item.store.manifest.content for item in (extraction.index, *extraction.backbones)]


def computed(extraction: Extraction) -> list[int]:
    """Return the numbers of rows computed for the index and for each backbone."""
    return [item.computed for item in (extraction.index, *extraction.backbones)]
