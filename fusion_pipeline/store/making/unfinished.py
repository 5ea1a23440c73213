"""The attempts of a data set, as their folders tell: which there are, at what, and who is at work on them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from fusion_pipeline.errors import DeniedError, StaleError, printable
from fusion_pipeline.store.identity import Recipe, differences
from fusion_pipeline.store.making.presence import Presence, Watch
from fusion_pipeline.store.making.publication import Publication
from fusion_pipeline.store.making.record import parse_record
from fusion_pipeline.store.paths import ATTEMPTS
from fusion_pipeline.store.storage.backend import Backend

ATTEMPT, DONE, CLAIMS, WRITERS = "attempt.json", "done", "claims", "writers"
"""What an attempt's folder holds: its description, and the folders of records, leases and writers."""


def attempt_folders(backend: Backend, dataset: str) -> Iterator[str]:
    """Yield the folders of all attempts of a data set."""
    for name in backend.entries(f"{dataset}/{ATTEMPTS}").folders:
        yield f"{dataset}/{ATTEMPTS}/{name}"


def describe_attempt(backend: Backend, folder: str) -> dict[str, Any]:
    """Return what the attempt in a folder is to become; nothing if that cannot be read."""
    try:
        stated = json.loads(backend.read(f"{folder}/{ATTEMPT}") or b"{}")
    except (ValueError, RecursionError):
        return {}
    return stated if isinstance(stated, dict) else {}


def attempts_alike(backend: Backend, dataset: str, recipe: Recipe) -> Iterator[str]:
    """Yield the folders of the attempts of a data set whose recipe is this one, but for those that are private."""
    for folder in attempt_folders(backend, dataset):
        stated: dict[str, Any] = {}
        with suppress(DeniedError):
            stated = describe_attempt(backend, folder)
        if stated.get("recipe") == dict(recipe):
            yield folder


def finished_rows(backend: Backend, folder: str) -> int:
    """Return how many rows the attempt in a folder has finished, as the names of its records tell."""
    stated = describe_attempt(backend, folder)
    try:
        rows, partition_rows = int(stated["rows"]), int(stated["partition_rows"])
    except (KeyError, TypeError, ValueError):
        return 0
    numbers = {name.partition("-")[0] for name in backend.list(f"{folder}/{DONE}")}
    left = (rows - int(number) * partition_rows for number in numbers if number.isdecimal())
    return sum(max(min(partition_rows, rest), 0) for rest in left)


def rows_made_with(backend: Backend, folder: str) -> list[Mapping[str, Any]]:
    """Return with what the first finished partition of the attempt in a folder was made; of none, nothing."""
    for name in backend.list(f"{folder}/{DONE}"):
        if (record := parse_record(backend.read(f"{folder}/{DONE}/{name}"))) is not None:
            return [record.made]
    return []


def join_writers(backend: Backend, folder: str) -> Presence:
    """Enter the writers of the attempt in a folder, who are then known to be at work on it."""
    return Presence(backend, f"{folder}/{WRITERS}")


def living_writers(backend: Backend, folder: str, *, silent: bool = False) -> bool:
    """Return whether somebody may be at work on an attempt.

    Parameters
    ----------
    backend : Backend
    folder : str
        The attempt's.
    silent : bool
        Nothing in it changed for long: only a writer of whom the operating system says so is then alive.
    """
    watch = Watch(backend, f"{folder}/{WRITERS}")
    lives = watch.is_surely_alive if silent else watch.lives
    return any(lives(nonce) for nonce in watch.writers())


def announced(backend: Backend, dataset: str) -> dict[str, bool]:
    """Return the names of the groups that were announced as about to be published, and whether by who may be alive."""
    found: dict[str, bool] = {}
    for folder in attempt_folders(backend, dataset):
        watch = Watch(backend, f"{folder}/{WRITERS}")
        with suppress(DeniedError):  # another member's, who keeps it private, and the store too
            found |= {uuid: watch.lives(intent.writer) for uuid, intent in Publication.markers(backend, folder)}
    return found


def refuse_other_recipe(backend: Backend, dataset: str, name: str, recipe: Recipe) -> None:
    """Refuse to begin a store whose like a stopped run left unfinished, made otherwise.

    Raises
    ------
    StaleError
        If there is such an attempt and nobody is at work on it; the message shows what differs.
    """
    for folder in attempt_folders(backend, dataset):
        with suppress(DeniedError):  # another member's, who keeps it private
            _refuse_if_left(backend, folder, name, recipe)


def _refuse_if_left(backend: Backend, folder: str, name: str, recipe: Recipe) -> None:
    before, now = describe_attempt(backend, folder), _without_budget(recipe)
    if before.get("name") != name or _without_budget(before.get("recipe", recipe)) == now:
        return
    if backend.list(f"{folder}/{DONE}") and not living_writers(backend, folder):
        listed = "; ".join(differences(before["recipe"], now))
        raise StaleError(
            f"An unfinished extraction of '{printable(name)}' was made otherwise than this one: "
            f"{printable(listed)}. Run it as before to finish it, or add --anew to leave it and begin another one."
        )


def tidy_published(backend: Backend, dataset: str) -> None:
    """Remove the attempts whose store was published right before a kill."""
    for folder in attempt_folders(backend, dataset):
        with suppress(DeniedError):  # another member's, who keeps it private
            published = [Publication.is_published(backend, *marker) for marker in Publication.markers(backend, folder)]
            if any(published) and not living_writers(backend, folder) and backend.may_write(folder):
                backend.remove(folder)


def _without_budget(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe but for what an image may cost: who is told to allow more must be able to."""
    return {key: value for key, value in recipe.items() if key != "budget"}
