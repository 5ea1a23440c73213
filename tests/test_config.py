"""Options, variables and the file become settings: in that order, typed, with paths where they were meant."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fusion_pipeline.config import BACKBONE_KEYS, LEAST, Settings, load_settings
from fusion_pipeline.errors import FormatError, UsageError


def write(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "fusion.toml").write_text(text, encoding="utf-8")
    return folder


def test_defaults(tmp_path: Path) -> None:
    assert load_settings({}, {}, tmp_path) == Settings()


def test_options_beat_variables_beat_the_file_beat_defaults(tmp_path: Path) -> None:
    write(tmp_path, 'gate = "average"\nseed = 1\nfolds = 4\n')
    found = load_settings({"gate": "stacking", "seed": None}, {"FUSION_GATE": "constant", "FUSION_SEED": "2"}, tmp_path)
    assert (found.gate, found.seed, found.folds, found.batch_size) == ("stacking", 2, 4, 0)
    assert found.source == tmp_path / "fusion.toml"


def test_the_nearest_file_above_counts(tmp_path: Path) -> None:
    write(tmp_path, "seed = 1")
    inner = write(tmp_path / "a", "seed = 2") / "b" / "c"
    assert load_settings({}, {}, inner).seed == 2
    assert load_settings({}, {}, tmp_path / "x").seed == 1


def test_paths_in_the_file_are_relative_to_it(tmp_path: Path) -> None:
    write(
        tmp_path,
        'data = "images"\ncache = "/team/cache"\nweights = "~/w"\nruns = "s3://b/runs"\n'
        '[backbone.x]\nweights = "x.pth"\n[backbone.y]\nweights = "package:module/file.pth"\n'
        '[backbone.z]\nweights = "hub:owner/name@main/file.pth"\n',
    )
    found = load_settings({}, {}, tmp_path / "below")
    assert found.data == str(tmp_path / "images")
    assert found.cache == "/team/cache"
    assert found.weights == os.path.expanduser("~/w")
    assert found.runs == "s3://b/runs"
    assert found.backbone["x"]["weights"] == str(tmp_path / "x.pth")
    assert found.backbone["y"]["weights"] == "package:module/file.pth"
    assert found.backbone["z"]["weights"] == "hub:owner/name@main/file.pth"


def test_paths_on_the_command_line_are_left_alone(tmp_path: Path) -> None:
    write(tmp_path, 'cache = "stores"')
    found = load_settings({"data": "here"}, {"FUSION_CACHE": "there"}, tmp_path)
    assert (found.data, found.cache) == ("here", "there")


@pytest.mark.parametrize(
    ("variable", "text", "key", "value"),
    [
        ("FUSION_BACKBONES", "xception, resnet50,", "backbones", ("xception", "resnet50")),
        ("FUSION_EXPECT_MANIFEST", "sha256:1,2", "expect_manifest", ("sha256:1", "2")),
        ("FUSION_FOLLOW_SYMLINKS", "Yes", "follow_symlinks", True),
        ("FUSION_FOLLOW_SYMLINKS", "0", "follow_symlinks", False),
        ("FUSION_MAX_MEGAPIXELS", "1.5", "max_megapixels", 1.5),
        ("FUSION_PARTITION_ROWS", "8", "partition_rows", 8),
        ("FUSION_SEED", "", "seed", 0),
    ],
)
def test_variables(tmp_path: Path, variable: str, text: str, key: str, value: object) -> None:
    assert getattr(load_settings({}, {variable: text}, tmp_path), key) == value


@pytest.mark.parametrize(
    ("variable", "text"),
    [("FUSION_SEED", "one"), ("FUSION_FOLLOW_SYMLINKS", "maybe"), ("FUSION_MAX_MEGAPIXELS", "many\x1b")],
)
def test_variables_of_the_wrong_type(tmp_path: Path, variable: str, text: str) -> None:
    with pytest.raises(UsageError, match=variable) as caught:
        load_settings({}, {variable: text}, tmp_path)
    assert "\x1b" not in str(caught.value)


def test_variables_that_resemble_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'FUSION_CACH': did you mean 'FUSION_CACHE'"):
        load_settings({}, {"FUSION_CACH": "x"}, tmp_path)
    for variable in ("FUSION_SEDE", "FUSION_CAHCE", "FUSION_DATASETS", "FUSION_BACKBONE"):
        with pytest.raises(UsageError, match=f"'{variable}': did you mean"):
            load_settings({}, {variable: "x"}, tmp_path, ["--backbone"])
    assert load_settings({}, {"FUSION_GRACE": "x"}, tmp_path) == Settings()
    with pytest.raises(UsageError, match="FUSION_GRACE is not read: unset it, and give --grace"):
        load_settings({}, {"FUSION_GRACE": "x"}, tmp_path, ["--grace"])
    assert load_settings({}, {"FUSION_TEST_DATA": "x", "FUSION_REACTOR": "y"}, tmp_path) == Settings()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dat = 1", "unknown key 'dat': did you mean 'data'"),
        ("zzz = 2", r"unknown key 'zzz'\. Known are"),
        ("seed = '1'", "seed in '.*' must be of type int, not str"),
        ("seed = true", "seed in '.*' must be of type int, not bool"),
        ("follow_symlinks = 1", "must be of type bool, not int"),
        ("data = ['a']", "data in '.*' must be of type str"),
        ("backbones = 'xception'", "must be a list of names"),
        ("backbones = [1]", "must be a list of names"),
        ("expect_manifest = 'sha256:1'", "must be a list of digests"),
        ("resources = 'GPU=1'", "must be a list of texts"),
        ("backbone = 3", "must be written as tables"),
        ("[backbone]\nx = 3", "must be written as tables"),
        ("[backbone.x]\nmodle = 'timm:a'", "unknown key 'modle': did you mean 'model'"),
        ("[backbone.x]\ninput_size = '299'", "input_size in .* has the wrong type: str"),
        ("[backbone.x]\nmean = [0.5]", "must be three numbers"),
        ("[backbone.x]\nstd = [1, 2, 'x']", "must be three numbers"),
        ("source = 'x'", "unknown key 'source'"),
    ],
)
def test_mistakes_in_the_file(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        load_settings({}, {}, write(tmp_path, text))
    assert "fusion.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "least"), [("batch_size", 0), ("workers", 0), ("partition_rows", 1), ("folds", 2), ("seed", 0)]
)
def test_numbers_that_are_too_small(tmp_path: Path, key: str, least: int) -> None:
    variable = f"FUSION_{key.upper()}"
    with pytest.raises(UsageError, match=rf"^{variable} is {least - 1}, but must be at least {least}\.$"):
        load_settings({}, {variable: str(least - 1)}, tmp_path)
    write(tmp_path, f"{key} = {least - 1}")
    with pytest.raises(
        UsageError, match=rf"^{key} in '.*fusion\.toml' is {least - 1}, but must be at least {least}\.$"
    ):
        load_settings({}, {}, tmp_path)
    assert getattr(load_settings({}, {}, write(tmp_path, f"{key} = {least}")), key) == LEAST[key] == least


def test_whole_numbers_will_do_for_fractions(tmp_path: Path) -> None:
    assert load_settings({}, {}, write(tmp_path, "max_megapixels = 10")).max_megapixels == 10


@pytest.mark.parametrize("content", [b"data = [", b"\xff\xfe", b"a = 1\n" * 2, b"x = " + b"[" * 100_000, b" " * 2**21])
def test_files_that_are_not_toml(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "fusion.toml").write_bytes(content)
    with pytest.raises(FormatError, match="is not TOML"):
        load_settings({}, {}, tmp_path)


def test_tables_of_backbones(tmp_path: Path) -> None:
    write(
        tmp_path,
        '[backbone.mine]\nmodel = "timm:resnet18"\narguments = { pad_type = "same" }\ninput_size = 64\n'
        'crop_pct = 1\nmean = [0, 0.5, 1]\n[backbone."timm:a.b"]\ninterpolation = "bilinear"\n',
    )
    found = load_settings({}, {}, tmp_path).backbone
    assert found["mine"]["arguments"] == {"pad_type": "same"}
    assert set(found["mine"]) <= set(BACKBONE_KEYS)
    assert found["timm:a.b"] == {"interpolation": "bilinear"}
