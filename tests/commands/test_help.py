"""Every command says what it does, with an example; every option is declared once."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from fusion_pipeline import __version__
from fusion_pipeline.commands import main
from fusion_pipeline.commands.options import _OPTIONS
from fusion_pipeline.config import Settings
from tests.commands.made import failure, fusion


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from commands(inner, (*path, name))


ALL = dict(commands(main))


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_has_help_with_an_example(path: tuple[str, ...]) -> None:
    outcome = fusion(*path, "--help")
    assert outcome.code == 0
    assert outcome.output.startswith("Usage: ")
    assert "Example:" in outcome.output
    assert f"fusion {' '.join(path)}".strip() in outcome.output.split("Example:")[1]
    assert fusion(*path, "-h").output == outcome.output


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_option_has_help(path: tuple[str, ...]) -> None:
    options = [parameter for parameter in ALL[path].params if isinstance(parameter, click.Option)]
    assert [option.name for option in options if not option.help] == []


@pytest.mark.parametrize("path", [path for path, command in ALL.items() if not isinstance(command, click.Group)])
def test_every_command_speaks_json_and_debugs(path: tuple[str, ...]) -> None:
    names = {parameter.name for parameter in ALL[path].params}
    assert {"json_wanted", "debug"} <= names


def test_options_are_settings() -> None:
    assert set(_OPTIONS) <= set(Settings.__dataclass_fields__)


def test_defaults_in_the_help_are_the_defaults() -> None:
    defaults = Settings()
    help_texts = {name: str(option(lambda: None).__click_params__[0].help) for name, option in _OPTIONS.items()}
    stated = {
        name: text.split("[default: ")[1].rstrip("]") for name, text in help_texts.items() if "[default: " in text
    }
    assert {name: value.split(",")[0] for name, value in stated.items() if name != "dataset"} == {
        name: f"{getattr(defaults, name):g}" if name == "max_megapixels" else str(getattr(defaults, name))
        for name in stated
        if name != "dataset"
    }


def test_the_help_names_the_keys() -> None:
    listed = fusion("--help").output.split("The keys are")[1].split(", which --backbone")[0]
    assert set(re.findall(r"\w+", listed)) - {"and"} == {*_OPTIONS, "backbones"}


@pytest.mark.parametrize("path", [path for path, command in ALL.items() if not isinstance(command, click.Group)])
def test_variables_of_options_that_have_none(path: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """The command that has the option refuses them: it would pass them over."""
    arguments = ["x" for item in ALL[path].params if isinstance(item, click.Argument) and item.required]
    words = [*path, *arguments, *(["--to", "x"] if path[-1] in ("export", "migrate") else [])]
    own = {item.opts[0] for item in ALL[path].params if item.name not in _OPTIONS and item.opts[0].startswith("--")}
    for flag in own - {"--backbone"}:
        variable = f"FUSION_{flag[2:].replace('-', '_').upper()}"
        with monkeypatch.context() as patch:
            patch.setenv(variable, "1")
            assert failure(2, *words) == f"Error: {variable} is not read: unset it, and give {flag}."


def test_variables_of_the_options_of_other_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("FUSION_GRACE", "FUSION_SUBSET", "FUSION_TO"):
        monkeypatch.setenv(variable, "1")
    assert fusion("backbones").code == 0


def test_version() -> None:
    assert fusion("--version").output == f"fusion, version {__version__}\n"


def test_unknown_command_and_option() -> None:
    assert fusion("extrakt").code == 2
    assert fusion("extract", "--bakcbone", "x").code == 2
    assert "Traceback" not in fusion("extract", "--bakcbone", "x").errors


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("fusion train --gate c", {"calibrated-average", "constant", "cnn32", "cnn64"}),
        ("fusion extract --backbone effi", {"efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"}),
        ("fusion extract --backbone xception,vgg", {"xception,vgg16", "xception,vgg19"}),
        ("fusion ex", {"extract"}),
    ],
)
def test_a_shell_completes_names(words: str, expected: set[str]) -> None:
    arguments = words.split()
    variables = {
        "_FUSION_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(arguments) - 1),
    }  # fmt: skip
    result = CliRunner().invoke(main, [], prog_name="fusion", env=variables)
    assert {line.split(",", 1)[1] for line in result.stdout.splitlines()} == expected
