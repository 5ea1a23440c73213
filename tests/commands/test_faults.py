"""What people get wrong: one line that says what to do, the documented exit code, nothing harmed."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from fusion_pipeline.store import Cache
from tests.builders import Tiny, tree_bytes, write_picture, write_pictures, write_settings
from tests.commands.made import failure, fusion
from tests.store.made import swap_features


@pytest.fixture
def here(tmp_path: Path, tiny_resnet: Tiny, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configured folder: three classes of two pictures, one backbone, no cache yet."""
    write_settings(tmp_path, write_pictures(tmp_path / "flowers", per_class=2), [tiny_resnet])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_no_images_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "Give --data DIR" in failure(2, "extract", "--backbone", "xception")


def test_no_such_folder(here: Path) -> None:
    assert "There is nothing at" in failure(10, "extract", "--data", "nowhere")


def test_an_empty_folder(here: Path) -> None:
    (here / "empty").mkdir()
    assert "holds no images" in failure(17, "extract", "--data", "empty")


def test_one_class_only(here: Path) -> None:
    write_picture(here / "single" / "rose" / "1.png", seed=0)
    assert "At least 2 are needed" in failure(17, "extract", "--data", "single")


def test_no_backbone_named(here: Path) -> None:
    (here / "fusion.toml").write_text('data = "flowers"\n')
    assert "Which backbones?" in failure(2, "extract")


def test_an_unknown_backbone(here: Path) -> None:
    assert "did you mean 'small_resnet'" in failure(2, "extract", "--backbone", "smal_resnet")


def test_an_unknown_device(here: Path) -> None:
    assert "Device 'abacus'" in failure(2, "extract", "--device", "abacus")


@pytest.mark.parametrize("value", ["nan", "inf", "-1", "0", "200"])
def test_a_senseless_budget(here: Path, value: str) -> None:
    line = f"--max-megapixels {value} is out of range. Give more than 0, and at most 178.9."
    assert failure(2, "extract", "--max-megapixels", value) == f"Error: {line}"


def test_weights_that_do_not_fit(here: Path, tiny_efficientnet: Tiny) -> None:
    line = failure(16, "extract", "--weights", str(tiny_efficientnet.weights))
    assert "do not fit timm:test_resnet" in line
    assert fusion("cache", "ls", "--json").document == {"stores": []}


def test_weights_that_are_not_there(here: Path) -> None:
    assert "No weights at" in failure(10, "extract", "--weights", "gone.safetensors")


def test_one_weights_file_for_two_backbones(here: Path, tiny_efficientnet: Tiny) -> None:
    line = failure(2, "extract", "--backbone", "small_resnet,xception", "--weights", str(tiny_efficientnet.weights))
    assert "one file for several backbones" in line


@pytest.mark.parametrize("command", [("extract",), ("train",), ("cache", "ls"), ("cache", "verify")])
def test_a_cache_that_is_none(here: Path, command: tuple[str, ...]) -> None:
    (here / "photos").mkdir()
    (here / "photos" / "1.jpg").write_bytes(b"mine")
    before = tree_bytes(here / "photos")
    assert "is not a fusion cache" in failure(13, *command, "--cache", "photos")
    assert tree_bytes(here / "photos") == before


def test_a_cache_elsewhere(here: Path) -> None:
    assert "neither a folder nor one of s3://" in failure(2, "extract", "--cache", "ftp://team/features")


def test_training_without_stores(here: Path) -> None:
    assert "Run 'fusion extract' first" in failure(10, "train")


def test_training_on_one_of_several_data_sets(here: Path) -> None:
    assert fusion("extract").code == 0
    assert fusion("extract", "--dataset", "garden").code == 0
    settings = here / "fusion.toml"
    settings.write_text("\n".join(line for line in settings.read_text().splitlines() if not line.startswith("data =")))
    assert failure(2, "train") == "Error: Which data set? The cache has flowers, garden. Give --dataset NAME."


def test_training_on_too_few_images(here: Path) -> None:
    write_picture(here / "flowers" / "lily" / "only.png", seed=9)
    assert fusion("extract").code == 0
    line = failure(17, "train", "--executor", "loop")
    assert "lily" in line


def test_stale_backbones(here: Path, tiny_efficientnet: Tiny) -> None:
    assert fusion("extract").code == 0
    write_picture(here / "flowers" / "iris" / "000.png", seed=77)
    (here / "fusion.toml").write_text((here / "fusion.toml").read_text() + tiny_efficientnet.to_toml())
    assert fusion("extract", "--backbone", "small_efficientnet").code == 0
    line = failure(14, "train", "--backbone", "small_resnet,small_efficientnet")
    assert "small_resnet" in line
    assert "fusion extract --backbone small_resnet" in line


def test_an_unknown_gate(here: Path) -> None:
    assert fusion("extract").code == 0
    assert "embedding" in failure(2, "train", "--gate", "embeding")


def test_an_unknown_key(here: Path) -> None:
    (here / "fusion.toml").write_text('dat = "flowers"\n')
    line = failure(2, "cache", "ls")
    assert "unknown key 'dat': did you mean 'data'?" in line


def test_a_configuration_that_is_not_toml(here: Path) -> None:
    (here / "fusion.toml").write_text("data = [")
    assert "is not TOML" in failure(13, "extract")


def test_bad_images_stop_or_are_skipped(here: Path) -> None:
    (here / "flowers" / "rose" / "000.png").write_bytes(b"")
    outcome = fusion("extract")
    assert outcome.code == 17
    assert "rose/000.png: empty file" in outcome.errors
    skipped = fusion("extract", "--on-bad", "skip", "--json")
    assert skipped.code == 3
    assert skipped.document["stores"][0]["bad"] == [{"sample": "rose/000.png", "reason": "empty file"}]
    assert fusion("extract", "--on-bad", "skip").output.splitlines()[-1] == "skipped rose/000.png: empty file"


@pytest.mark.parametrize("name", ["esc\x1b[2J.png", "new\nline.png", "byte\udcff.png", "-dash.png"])
def test_names_are_escaped_on_the_terminal(here: Path, name: str) -> None:
    bad = here / "flowers" / "rose" / name
    bad.write_bytes(b"")
    for arguments in (("extract",), ("extract", "--json"), ("extract", "--on-bad", "skip")):
        outcome = fusion(*arguments)
        shown = outcome.output + outcome.errors
        assert outcome.code in (3, 17)
        assert ("\x1b" in shown, "\udcff" in shown, "new\nline" in shown) == (False, False, False)
        assert any(part in shown for part in ("esc\\", "new\\nline", "byte\\", "-dash.png"))
    assert fusion("extract", "--on-bad", "skip", "--json").document["stores"][0]["bad"][0]["sample"] == f"rose/{name}"


def test_a_cache_with_a_strange_name(here: Path) -> None:
    outcome = fusion("extract", "--cache", "ca\x1bche\udcff")
    assert outcome.code == 0
    assert "ca\\x1bche\\xff" in outcome.output
    assert "\x1b" not in fusion("cache", "verify", "--cache", "ca\x1bche\udcff").output


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_cache(here: Path) -> None:
    (here / "locked").mkdir(mode=0o555)
    assert "Permission denied" in failure(15, "extract", "--cache", "locked")


def test_a_file_where_the_cache_should_be_made(here: Path) -> None:
    (here / "file").write_bytes(b"")
    outcome = fusion("extract", "--cache", "file/cache")
    assert outcome.code == 15
    assert "Not a directory" in outcome.errors


def test_a_full_disk(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        outcome = fusion("extract")
    assert outcome.code == 15
    assert "bytes needed" in outcome.errors
    assert fusion("extract").code == 0


def test_a_fault_of_ours_is_one_line_unless_debugged(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("oh\x1bno")

    monkeypatch.setattr("fusion_pipeline.store.Cache.__init__", fail)
    assert failure(1, "cache", "ls").endswith(
        "Unexpected ZeroDivisionError: oh\\x1bno. This is a fault of fusion; --debug shows where."
    )
    assert "Traceback" in fusion("cache", "ls", "--debug").errors


def test_options_beat_variables_beat_the_file(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fusion("extract", "--cache", "cache-option").code == 0
    monkeypatch.setenv("FUSION_CACHE", "cache-variable")
    assert fusion("extract").code == 0
    assert (here / "cache-variable" / "flowers").is_dir()
    assert not (here / "cache").exists()
    assert fusion("extract", "--cache", "cache-option", "--json").document["stores"][0]["computed"] == 0
    monkeypatch.delenv("FUSION_CACHE")
    assert fusion("extract").code == 0
    assert (here / "cache" / "flowers").is_dir()


def test_a_folder_of_weights_without_the_backbones_file(here: Path) -> None:
    (here / "weights").mkdir()
    line = failure(10, "extract", "--backbone", "timm:test_vit", "--weights", "weights")
    assert "'weights' has no timm:test_vit.safetensors" in line
    assert fusion("extract", "--weights", "weights").code == 0, "a table says where small_resnet's weights are"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm:resnet81", "timm has no model 'resnet81'. Did you mean 'resnet"),
        ("torchvision:resnet81", "torchvision has no model 'resnet81'. Did you mean 'resnet"),
    ],
)
def test_a_model_that_does_not_exist_is_not_asked_for_weights(here: Path, name: str, message: str) -> None:
    assert message in failure(2, "extract", "--backbone", name)


def test_a_misspelt_table_of_backbones(here: Path) -> None:
    (here / "fusion.toml").write_text("[backbones.xception]\ninput_size = 3\n")
    assert "did you mean [backbone.NAME]?" in failure(2, "extract")


def test_a_cache_inside_the_images_is_refused_each_time(here: Path) -> None:
    for _ in range(2):
        assert "lies inside the images" in failure(2, "extract", "--cache", "flowers/cache")
    assert not (here / "flowers" / "cache").exists()


def test_nothing_to_verify_is_no_all_clear(here: Path) -> None:
    assert "There is no store to verify in" in failure(10, "cache", "verify", "--cache", "tpyo")


def test_damage_says_what_to_do_next(here: Path) -> None:
    write_pictures(here / "flowers", per_class=4)
    assert fusion("extract").code == 0
    (store,) = (here / "cache" / "flowers").glob("small_resnet-*")
    (chunk,) = store.rglob("features/c/0/0")
    content = chunk.read_bytes()
    chunk.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    verified = fusion("cache", "verify")
    assert verified.code == 12
    assert verified.output.splitlines()[-1] == "'fusion cache repair' mends them."
    assert f"'fusion cache verify --cache {here / 'cache'}'" in failure(12, "train")
    repaired = fusion("cache", "repair")
    assert repaired.code == 0
    assert repaired.output.endswith("12 of 12 rows computed; every byte as it was\n")
    assert fusion("cache", "verify").code == 0
    assert chunk.read_bytes() != content  # the damaged file stays until it is collected
    assert fusion("cache", "repair").output == "Nothing is damaged.\n"


def test_wrong_rows_are_mended_by_the_command_that_verify_names(here: Path) -> None:
    write_pictures(here / "flowers", per_class=4)
    assert fusion("extract", "--partition-rows", "4").code == 0
    store = Cache("cache")["flowers"]["small_resnet"]
    before = store.features[:]
    swap_features(store)
    assert fusion("cache", "verify").code == 0
    assert fusion("cache", "repair").output == "Nothing is damaged.\n"
    verified = fusion("cache", "verify", "--semantic")
    assert (verified.code, verified.output.splitlines()[-1]) == (12, "'fusion cache repair --semantic' mends them.")
    elsewhere = fusion("cache", "verify", "--semantic", "--cache", str(here / "cache"), "--dataset", "flowers")
    command = f"fusion cache repair --semantic --dataset flowers --cache {here / 'cache'}"
    assert elsewhere.output.splitlines()[-1] == f"'{command}' mends them."
    repaired = fusion(*command.split()[1:])
    assert repaired.code == 0, repaired
    assert repaired.output.endswith("8 of 12 rows computed; rows of it were wrong\n")
    assert fusion("cache", "verify", "--semantic").code == 0
    assert Cache("cache")["flowers"]["small_resnet"].features[:].tobytes() == before.tobytes()


def test_the_images_that_verify_asks_for(here: Path) -> None:
    assert fusion("extract").code == 0
    assert fusion("extract", "--dataset", "garden").code == 0
    for chunk in here.glob("cache/*/small_resnet-*/attempts/*/features/c/0/0"):
        chunk.unlink()
    line = fusion("cache", "verify").output.splitlines()[-1]
    assert line == "'fusion cache repair --data DIR' mends them; DIR holds the images of 'flowers', then of 'garden'."


def test_repair_without_images_restores_manifests(here: Path) -> None:
    write_pictures(here / "flowers", per_class=4)
    assert fusion("extract").code == 0
    (manifest,) = (here / "cache" / "flowers").glob("small_resnet-*/manifest.json")
    content = manifest.read_bytes()
    manifest.write_bytes(content[:-9])
    settings = here / "fusion.toml"
    settings.write_text("\n".join(line for line in settings.read_text().splitlines() if not line.startswith("data =")))
    assert fusion("cache", "repair").output == f"restored flowers/{manifest.parent.name}/manifest.json\n"
    assert manifest.read_bytes() == content
    next(manifest.parent.rglob("features/c/0/0")).unlink()
    (manifest.parent / "manifest.json").unlink()
    both = fusion("cache", "repair")
    assert both.code == 10
    assert both.output == f"restored flowers/{manifest.parent.name}/manifest.json\n"
    assert "needs the images of 'flowers'. Give their folder with --data" in both.errors


def test_verify_against_the_images(here: Path) -> None:
    write_pictures(here / "flowers", per_class=4)
    assert fusion("extract").code == 0
    assert fusion("cache", "verify", "--source", "--semantic").code == 0
    (here / "flowers" / "iris" / "000.png").rename(here / "flowers" / "iris" / "zzz.png")
    verified = fusion("cache", "verify", "--source")
    assert verified.code == 14
    assert verified.output.splitlines()[-1] == "  renamed  iris/000.png -> iris/zzz.png"
    extracted = fusion("extract", "--json")
    assert [item["computed"] for item in extracted.document["stores"]] == [0]
    assert fusion("cache", "verify", "--source").code == 0


def test_a_stopped_extraction_is_not_silently_left(here: Path) -> None:
    """The images after the first partition are bad: what is finished by then waits for the same command."""
    write_pictures(here / "flowers", per_class=4)
    (here / "flowers" / "tulip" / "003.png").write_bytes(b"")
    assert fusion("extract", "--partition-rows", "4").code == 17
    write_picture(here / "flowers" / "tulip" / "003.png", seed=3)
    message = failure(14, "extract", "--partition-rows", "4", "--dtype", "float32")
    assert "dtype was 'float16', now 'float32'" in message
    assert "--anew" in message
    assert fusion("extract", "--partition-rows", "4", "--dtype", "float32", "--anew").code == 0
    assert fusion("extract", "--partition-rows", "4").code == 0


def test_expected_manifests(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pictures(here / "flowers", per_class=4)
    document = fusion("extract", "--json").document
    digests = [document["index"]["manifest"], document["stores"][0]["manifest"]]
    given = [word for digest in digests for word in ("--expect-manifest", digest)]
    assert fusion("train", "--gate", "average", *given).code == 0
    message = failure(16, "train", "--gate", "average", *given[:2])
    assert digests[1] in message
    assert "not among those expected" in message
    monkeypatch.setenv("FUSION_EXPECT_MANIFEST", digests[0])
    assert digests[1] in failure(16, "train", "--gate", "average")
    assert digests[1] in failure(16, "cache", "push", "home")
    assert fusion("train", "--gate", "average", *given).code == 0, "an option beats a variable"
    monkeypatch.setenv("FUSION_EXPECT_MANIFEST", ", ".join(digests))
    assert fusion("cache", "push", "home").code == 0


@pytest.mark.parametrize("arguments", [("train", "--folds", "1"), ("extract", "--bogus"), ("predict",), ("nonsense",)])
def test_a_wrong_call_is_a_document_too(here: Path, arguments: tuple[str, ...]) -> None:
    outcome = fusion(*arguments, "--json")
    assert outcome.code == 2
    assert outcome.document["error"]["exit_code"] == 2
    assert outcome.document["error"]["message"] in outcome.errors
    assert fusion("extract", "--help", "--json").output == fusion("extract", "--help").output


def test_too_many_folds_for_the_smallest_class(here: Path) -> None:
    write_picture(here / "flowers" / "iris" / "9.png", seed=9)
    for name in ("rose", "tulip"):
        write_picture(here / "flowers" / name / "9.png", seed=9)
        write_picture(here / "flowers" / name / "8.png", seed=8)
    assert fusion("extract").code == 0
    assert "leave it out, or use --folds 3." in failure(17, "train", "--folds", "5")
    assert fusion("train", "--folds", "3", "--gate", "average", "--executor", "loop").code == 0


def test_a_damaged_manifest_hides_no_other_store(here: Path) -> None:
    write_pictures(here / "flowers", per_class=4)
    assert fusion("extract").code == 0
    (manifest,) = (here / "cache" / "flowers").glob("small_resnet-*/manifest.json")
    manifest.write_bytes(manifest.read_bytes()[:-3])
    listed = fusion("cache", "ls")
    assert (listed.code, len(listed.output.splitlines())) == (0, 1)
    assert f"Manifest '{manifest}' is damaged" in listed.errors
    index, unreadable = fusion("cache", "ls", "--json").document["stores"]
    assert (index["backbone"], index["folder"][:6]) == ("index", "index-")
    assert unreadable == {
        "dataset": "flowers",
        "folder": manifest.parent.name,
        "error": listed.errors.strip().removeprefix("Note: "),
    }
    verified = fusion("cache", "verify", "--json")
    assert verified.code == 12
    assert [(store["backbone"], store["ok"], store["damage"]) for store in verified.document["stores"]] == [
        ("index", True, []),
        (None, False, [{"file": "manifest.json", "kind": "content"}]),
    ]
    assert "is damaged" in failure(12, "train")
    assert "is damaged" in failure(12, "extract")
