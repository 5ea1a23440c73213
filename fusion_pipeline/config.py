"""Options, FUSION_* variables and fusion.toml into one frozen record."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from fusion_pipeline.errors import FormatError, UsageError, printable

FILE_NAME = "fusion.toml"
PREFIX = "FUSION_"

BACKBONE_KEYS: Mapping[str, Any] = {
    "model": str,
    "weights": str,
    "arguments": dict,
    "input_size": int,
    "crop_pct": (int, float),
    "crop_mode": str,
    "interpolation": str,
    "mean": list,
    "std": list,
}
"""Keys of a ``[backbone.NAME]`` table, and what each takes."""

_MAX_FILE_BYTES = 1 << 20
_RESEMBLES = 0.9  # FUSION_SEDE is FUSION_SEED, but FUSION_GRACE, an option's name, is not FUSION_GATE

_LISTS = {
    "backbones": 'names, such as ["xception", "resnet50"]',
    "expect_manifest": 'digests, such as ["sha256:0123..."]',
    "resources": 'texts, such as ["GPU=1"]',
}


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in (part.strip() for part in text.split(",")) if word)


def _flag(text: str) -> bool:
    if text.lower() not in ("1", "true", "yes", "0", "false", "no"):
        raise ValueError(text)
    return text.lower() in ("1", "true", "yes")


def _key(default: Any, parse: Callable[[str], Any], *, path: bool = False, least: int | None = None) -> Any:
    """Declare a key: its default, how a variable's text becomes its value, whether it names a place, its minimum."""
    return field(default=default, metadata={"parse": parse, "path": path, "least": least})


@dataclass(frozen=True)
class Settings:
    """Everything that can be configured, with its default.

    Parameters
    ----------
    data : str or None
        The images: a folder, a manifest, a tar file, or the name of one of the paper's data sets.
    data_home : str
        Folder of the copies of data sets that go by name.
    dataset : str or None
        Name of the data set in the cache; by default the folder's own.
    cache : str
        Folder or URL of the stores.
    local_copy : str or None
        Folder for copies of what is read from a remote cache.
    single_writer : bool
        Whether nobody else writes to the cache meanwhile.
    backbones : tuple of str
        What ``--backbone all`` and training use.
    weights : str or None
        A weights file, or a folder of files called ``BACKBONE.safetensors`` (or ``.pth``).
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    dtype : str
        How features are stored: ``float16`` or ``float32``.
    engine : str
        ``auto``, ``eager`` or ``compiled``.
    precision : str
        What networks compute in: ``float32``, ``float16`` or ``bfloat16``.
    batch_size : int
        Images in a forward pass; 0 for what suits the device.
    workers : int
        Decoding threads or processes, or training processes; 0 for one per processor.
    decode_in : str
        ``auto``, ``threads`` or ``processes``.
    scheduler : str or None
        Address of a Dask cluster that computes features.
    tls_ca, tls_cert, tls_key : str or None
        PEM files for a ``tls://`` scheduler.
    insecure : bool
        Whether a scheduler on another machine may do without TLS.
    resources : tuple of str
        ``NAME=N``: what each call needs of a worker.
    partition_rows : int
        Rows that are computed and written together.
    on_bad : str
        ``stop`` or ``skip``.
    max_megapixels : float
        Decode budget of an image.
    follow_symlinks : bool
        Whether links in the images' folder are followed.
    gate : str
        How experts are fused.
    folds : int
        Cross-validation folds.
    seed : int
        Of every random choice.
    executor : str
        ``processes``, ``threads`` or ``loop``.
    runs : str
        Folder of the trained models.
    expect_manifest : tuple of str
        Digests of the only manifests that are trusted; none for all.
    backbone : mapping of str to mapping
        The ``[backbone.NAME]`` tables.
    source : Path or None
        The file that was read.
    given : frozenset of str
        The keys that the command line gave.
    """

    data: str | None = _key(None, str, path=True)
    data_home: str = _key("~/.cache/fusion/datasets", str, path=True)
    dataset: str | None = _key(None, str)
    cache: str = _key("cache", str, path=True)
    local_copy: str | None = _key(None, str, path=True)
    single_writer: bool = _key(False, _flag)
    backbones: tuple[str, ...] = _key((), _words)
    weights: str | None = _key(None, str, path=True)
    device: str = _key("auto", str)
    dtype: str = _key("float16", str)
    engine: str = _key("auto", str)
    precision: str = _key("float32", str)
    batch_size: int = _key(0, int, least=0)
    workers: int = _key(0, int, least=0)
    decode_in: str = _key("auto", str)
    scheduler: str | None = _key(None, str)
    tls_ca: str | None = _key(None, str, path=True)
    tls_cert: str | None = _key(None, str, path=True)
    tls_key: str | None = _key(None, str, path=True)
    insecure: bool = _key(False, _flag)
    resources: tuple[str, ...] = _key((), _words)
    partition_rows: int = _key(512, int, least=1)
    on_bad: str = _key("stop", str)
    max_megapixels: float = _key(64.0, float)
    follow_symlinks: bool = _key(False, _flag)
    gate: str = _key("embedding", str)
    folds: int = _key(2, int, least=2)
    seed: int = _key(0, int, least=0)
    executor: str = _key("processes", str)
    runs: str = _key("runs", str, path=True)
    expect_manifest: tuple[str, ...] = _key((), _words)
    backbone: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    source: Path | None = None
    given: frozenset[str] = frozenset()


_KEYS: Mapping[str, Field[Any]] = {item.name: item for item in fields(Settings) if "parse" in item.metadata}

LEAST: Mapping[str, int] = {
    key: item.metadata["least"] for key, item in _KEYS.items() if item.metadata["least"] is not None
}
"""The smallest value of each key that has one, wherever the value comes from."""


def load_settings(
    options: Mapping[str, Any], environment: Mapping[str, str], folder: Path, flags: Collection[str] = ()
) -> Settings:
    """Return the settings: options first, then ``FUSION_*`` variables, then ``fusion.toml``, then defaults.

    Parameters
    ----------
    options : mapping
        From the command line, by key; None for what was not given.
    environment : mapping of str to str
        The process's variables. One that resembles a known variable without being one is refused; any other
        ``FUSION_...`` belongs to somebody else.
    folder : Path
        Where to look for ``fusion.toml``; then in the folders above it. Paths in the file are relative to the file.
    flags : collection of str
        Options of the command that only the command line gives, such as ``--grace``: a variable that looks like one
        of them is refused, for it would be passed over.

    Returns
    -------
    Settings

    Raises
    ------
    UsageError
        For an unknown key, or a value of the wrong type or below the least; the message names the nearest known key
        or the least value.
    FormatError
        If the file is not TOML.

    Examples
    --------
    >>> load_settings({"seed": 3}, {"FUSION_FOLDS": "5", "FUSION_SEED": "4"}, Path("/")).seed
    3
    """
    path = _find_file(folder)
    from_file = _read_file(path) if path is not None else {}
    tables = from_file.pop("backbone", {})
    from_options = {key: value for key, value in options.items() if value is not None}
    values = {**from_file, **_read_environment(environment, flags), **from_options}
    return Settings(**values, backbone=tables, source=path, given=frozenset(from_options))


def _find_file(folder: Path) -> Path | None:
    for candidate in (folder, *folder.parents):
        if (candidate / FILE_NAME).is_file():
            return candidate / FILE_NAME
    return None


def _read_file(path: Path) -> dict[str, Any]:
    where = printable(str(path))
    try:
        content = path.read_bytes()
        if len(content) > _MAX_FILE_BYTES:
            raise ValueError(f"larger than {_MAX_FILE_BYTES:,} bytes")
        document = tomllib.loads(content.decode())
    except OSError as error:
        raise UsageError(f"'{where}' cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise FormatError(f"'{where}' is not TOML: {printable(str(error))}.") from None
    tables = document.pop("backbone", {})
    values = {key: _file_value(key, value, path) for key, value in document.items()}
    return {**values, "backbone": _read_tables(tables, path)}


def _file_value(key: str, value: Any, path: Path) -> Any:
    if key not in _KEYS:
        raise UsageError(f"'{printable(str(path))}' has the unknown key '{printable(key)}'{_nearest(key, _KEYS)}")
    where = f"{key} in '{printable(str(path))}'"
    default = _KEYS[key].default
    if key == "backbones" and isinstance(value, dict):
        raise UsageError(f"[backbones.NAME] in '{printable(str(path))}' is not known: did you mean [backbone.NAME]?")
    if isinstance(default, tuple):
        if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
            raise UsageError(f"{where} must be a list of {_LISTS[key]}.")
        return tuple(value)
    wanted = str if default is None else type(default)
    accepted = isinstance(value, int | float) if wanted is float else isinstance(value, wanted)
    if not accepted or (isinstance(value, bool) and wanted is not bool):
        raise UsageError(f"{where} must be of type {wanted.__name__}, not {type(value).__name__}.")
    _check_least(key, value, where)
    return _beside(path, value) if _KEYS[key].metadata["path"] else value


def _beside(path: Path, value: str) -> str:
    return value if "://" in value else str(path.parent / Path(value).expanduser())


def _read_tables(tables: Any, path: Path) -> dict[str, dict[str, Any]]:
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise UsageError(f"backbone in '{printable(str(path))}' must be written as tables: [backbone.NAME].")
    return {name: _read_table(name, table, path) for name, table in tables.items()}


def _read_table(name: str, table: Mapping[str, Any], path: Path) -> dict[str, Any]:
    where = f"[backbone.{printable(name)}] of '{printable(str(path))}'"
    for key, value in table.items():
        if key not in BACKBONE_KEYS:
            raise UsageError(f"{where} has the unknown key '{printable(key)}'{_nearest(key, BACKBONE_KEYS)}")
        if not isinstance(value, BACKBONE_KEYS[key]) or isinstance(value, bool):
            raise UsageError(f"{key} in {where} has the wrong type: {type(value).__name__}.")
        if key in ("mean", "std") and not (len(value) == 3 and all(isinstance(v, int | float) for v in value)):
            raise UsageError(f"{key} in {where} must be three numbers: red, green, blue.")
    weights = table.get("weights")
    if weights is None or weights.startswith(("package:", "hub:")):
        return dict(table)
    return {**table, "weights": _beside(path, weights)}


def _read_environment(environment: Mapping[str, str], flags: Collection[str]) -> dict[str, Any]:
    known = {f"{PREFIX}{key.upper()}": key for key in _KEYS}
    values: dict[str, Any] = {}
    for variable, text in environment.items():
        if variable in known and text:
            values[known[variable]] = _parse(variable, known[variable], text)
        elif variable not in known and variable.startswith(PREFIX):
            for near in difflib.get_close_matches(variable, known, n=1, cutoff=_RESEMBLES):
                raise UsageError(f"Unknown variable '{printable(variable)}': did you mean '{near}'?")
            flag = f"--{variable.removeprefix(PREFIX).lower().replace('_', '-')}"
            if flag in flags and text:
                raise UsageError(f"{variable} is not read: unset it, and give {flag}.")
    return values


def _parse(variable: str, key: str, text: str) -> Any:
    try:
        value = _KEYS[key].metadata["parse"](text)
    except ValueError:
        raise UsageError(f"{variable}='{printable(text)}' is not a {type(_KEYS[key].default).__name__}.") from None
    _check_least(key, value, variable)
    return value


def _check_least(key: str, value: Any, where: str) -> None:
    if key in LEAST and value < LEAST[key]:
        raise UsageError(f"{where} is {value}, but must be at least {LEAST[key]}.")


def _nearest(key: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f": did you mean '{near[0]}'?" if near else f". Known are {', '.join(sorted(known))}."
