"""What the store of one backbone is known by, before its network is built."""

from __future__ import annotations

from pathlib import Path

import pytest

from fusion_pipeline.extract.backbone_target import BackboneTarget
from fusion_pipeline.extract.networks.backbones import Backbone
from fusion_pipeline.extract.networks.taps import CLASSIFIER_INPUT, PRE_LOGITS
from fusion_pipeline.extract.plan import Plan
from fusion_pipeline.images.decode import DecodeBudget


@pytest.mark.parametrize(("architecture", "rule"), [("test_resnet", CLASSIFIER_INPUT), ("levit_128s", PRE_LOGITS)])
def test_a_store_says_where_its_features_were_taken(architecture: str, rule: str, tmp_path: Path) -> None:
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(b"")
    backbone = Backbone("x", f"timm:{architecture}", weights=str(weights))
    assert BackboneTarget(backbone, "float16", Plan(), DecodeBudget()).recipe["backbone"]["tap"] == rule
