"""What every fitted parameter saw becomes the list of those that predicted a row that they were fitted on.

Each task returns entries for what it fitted, the benchmark merges them and checks them all. An entry tells the rows
whose features or labels a parameter was fitted on, what else it was made with, and of which rows its predictions were
used: to be scored, or to fit something else on. What a parameter saw is what it was fitted on and whatever the
parameters saw that it was made with or learned from, all the way back. No prediction that is used may be of a row that
its parameter saw.

A leak can also come in with the inputs. So entries name theirs, and for each of these a `Source` tells where it comes
from, its digest, and how far it gives away the number of the row (see `row_order`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusion_pipeline.errors import FormatError, RefusedError, printable
from fusion_pipeline.train.row_order import TOLD
from fusion_pipeline.train.row_sets import RowSet

IntArray = NDArray[np.int64]

FORMAT = 1

LEDGER_FILE = "ledger.json"
"""In every run folder."""


@dataclass(frozen=True)
class Source:
    """One array that parameters are fitted from.

    Attributes
    ----------
    name : str
        What entries call it, such as ``"features xception"``.
    origin : str
        Where it comes from: the digest of a store's manifest, or of a file; empty if nobody says.
    digest : str
        Of the rows as they were used.
    row_order : float
        How well it tells the number of a row within its class, 0 to 1, as `row_order.row_order` finds.
    """

    name: str
    origin: str
    digest: str
    row_order: float


@dataclass(frozen=True)
class Entry:
    """What one fitted parameter saw, and which predictions of it were used.

    Attributes
    ----------
    name : str
        Unique in a run, such as ``"expert xception, repeat 0, fold 1, inner fold 2"``.
    kind : str
        ``"expert"``, ``"penalty"``, ``"gate"``, ``"stacker"``, ``"temperature"``, ``"pca"``, ``"standardiser"``,
        ``"label embedding"``, ``"guard"``.
    fitted_on : RowSet
        Rows whose features, labels or predictions it was fitted on.
    predicts : RowSet
        Rows whose predictions by it were scored or learned from; none for what only serves others.
    scored : bool
        Whether these predictions are in the table.
    inputs : tuple of str
        Names of its sources.
    made_with : tuple of str
        Entries that are a part of it, or were applied to its inputs: what they saw it saw.
    learned_from : tuple of str
        Entries whose predictions it was fitted on: they must have predicted every row of `fitted_on`.
    accepted : str
        Why it may predict rows that it saw through others only; empty if it may not. Never counts for what is scored,
        nor for rows that it was fitted on itself.
    leaks : str
        Why it leaks on purpose, to be compared with the paper: it is found like any other, but no reason to refuse a
        run, whose table says it.
    """

    name: str
    kind: str
    fitted_on: RowSet
    predicts: RowSet
    scored: bool = False
    inputs: tuple[str, ...] = ()
    made_with: tuple[str, ...] = ()
    learned_from: tuple[str, ...] = ()
    accepted: str = ""
    leaks: str = ""


@dataclass(frozen=True)
class Finding:
    """Something in a ledger that is a leak, or that may hide one.

    Attributes
    ----------
    entry : str
        The parameter, or the source.
    problem : str
        What is wrong, in one sentence.
    rows : int
        How many rows it is about.
    path : tuple of str
        From the parameter to the nearest that was fitted on some of these rows.
    accepted : str
        Why it is no leak; empty if it is one.
    """

    entry: str
    problem: str
    rows: int = 0
    path: tuple[str, ...] = ()
    accepted: str = ""


@dataclass(frozen=True)
class Ledger:
    """Entries and sources of a task, or of a whole run.

    Attributes
    ----------
    n : int
        How many rows there are: the usable ones, as stage two counts them.
    entries : dict of str to Entry
        By name.
    sources : tuple of Source
        Ordered; one that is told differently stands here twice.

    Examples
    --------
    >>> halves = RowSet.of([0, 1], 4), RowSet.of([2, 3], 4)
    >>> honest = Entry("expert a", "expert", halves[0], halves[1], scored=True)
    >>> check(Ledger.of(4, [honest]))
    []
    >>> leaking = Entry("expert b", "expert", halves[0], halves[0], scored=True)
    >>> [finding.problem for finding in check(Ledger.of(4, [honest, leaking]))]
    ['predicted 2 rows that it was fitted on']
    """

    n: int
    entries: dict[str, Entry] = field(default_factory=dict)
    sources: tuple[Source, ...] = ()

    @classmethod
    def of(cls, n: int, entries: Iterable[Entry], sources: Iterable[Source] = ()) -> Ledger:
        """Return the ledger of some entries.

        Raises
        ------
        ValueError
            If two entries of one name differ, or an entry is about another number of rows.
        """
        found: dict[str, Entry] = {}
        for entry in entries:
            if found.setdefault(entry.name, entry) != entry:
                raise ValueError(f"Two tasks tell differently what '{entry.name}' saw.")
            if {entry.fitted_on.n, entry.predicts.n} != {n}:
                raise ValueError(f"'{entry.name}' is about {entry.fitted_on.n} rows, but the ledger about {n}.")
        ordered = sorted(set(sources), key=lambda source: (source.name, source.origin, source.digest))
        return cls(n, dict(sorted(found.items())), tuple(ordered))

    @classmethod
    def merged(cls, ledgers: Iterable[Ledger]) -> Ledger:
        """Return one ledger of all; what a task that ran twice tells twice counts once. At least one is needed."""
        parts = list(ledgers)
        entries = (entry for part in parts for entry in part.entries.values())
        return cls.of(parts[0].n, entries, (source for part in parts for source in part.sources))

    def to_json(self) -> dict[str, Any]:
        """Return the ledger as JSON values; each set of rows stands in it once, under its digest."""
        sets = {rows.digest: rows for entry in self.entries.values() for rows in (entry.fitted_on, entry.predicts)}
        return {
            "format": FORMAT,
            "n": self.n,
            "rows": {digest: sets[digest].to_json() for digest in sorted(sets)},
            "sources": [vars(source) for source in self.sources],
            "entries": [_entry_to_json(entry) for entry in self.entries.values()],
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Ledger:
        """Return the ledger that `to_json` wrote.

        Raises
        ------
        FormatError
            If it is none, or a set of rows is not the one that its digest names.
        """
        try:
            if content["format"] != FORMAT:
                raise ValueError(f"format {content['format']}")
            sets = {digest: RowSet.from_json(rows) for digest, rows in content["rows"].items()}
            wrong = [digest for digest, rows in sets.items() if rows.digest != digest]
            if wrong:
                raise ValueError(f"rows {wrong[0]} are others")
            entries = [_entry_from_json(entry, sets) for entry in content["entries"]]
            return cls.of(int(content["n"]), entries, [Source(**source) for source in content["sources"]])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = printable(str(error))
            raise FormatError(f"The ledger cannot be read: {reason}. Run the benchmark again.") from None


_LISTS = ("inputs", "made_with", "learned_from")


def _entry_to_json(entry: Entry) -> dict[str, Any]:
    content = dict(vars(entry))
    content.update({name: getattr(entry, name).digest for name in ("fitted_on", "predicts")})
    content.update({name: list(getattr(entry, name)) for name in _LISTS})
    return content


def _entry_from_json(content: Mapping[str, Any], sets: Mapping[str, RowSet]) -> Entry:
    read: dict[str, Any] = dict(content)
    read.update({name: tuple(content[name]) for name in _LISTS})
    read.update({name: sets[content[name]] for name in ("fitted_on", "predicts")})
    return Entry(**read)


def check(ledger: Ledger, groups: IntArray | None = None) -> list[Finding]:
    """Return every parameter that predicted a row it saw, and every gap in which such a one could hide.

    Parameters
    ----------
    ledger : Ledger
    groups : ndarray (n,), int64, optional
        Near-duplicates: who was fitted on one row of a group saw all of them.

    Returns
    -------
    list of Finding
        Empty, or all `accepted`, where nothing leaks.
    """
    saw = _fitted_on(ledger, groups)
    return [
        *_source_findings(ledger),
        *(finding for entry in ledger.entries.values() for finding in _entry_findings(ledger, entry, saw)),
    ]


def _fitted_on(ledger: Ledger, groups: IntArray | None) -> dict[str, RowSet]:
    """Return the rows that each entry was fitted on, with their near-duplicates: each set is looked at once."""
    sets = {entry.fitted_on for entry in ledger.entries.values()}
    whole = {rows: rows if groups is None else rows.whole_groups(groups) for rows in sets}
    return {name: whole[entry.fitted_on] for name, entry in ledger.entries.items()}


def refuse_leaks(ledger: Ledger, groups: IntArray | None = None) -> None:
    """Refuse a ledger in which `check` finds something that is not accepted, of what does not leak on purpose.

    Raises
    ------
    RefusedError
        Naming the first finding and how many there are.
    """
    on_purpose = {name for name, entry in ledger.entries.items() if entry.leaks}
    found = check(ledger, groups)
    leaks = [finding for finding in found if not finding.accepted and finding.entry not in on_purpose]
    if leaks:
        more = f" ({len(leaks) - 1} more findings)" if len(leaks) > 1 else ""
        raise RefusedError(
            f"The scores are not out of sample: '{printable(leaks[0].entry)}' {leaks[0].problem}{more}. "
            "Do not use them; report this with the run's ledger."
        )


def _source_findings(ledger: Ledger) -> Iterator[Finding]:
    digests: dict[str, str] = {}
    for source in ledger.sources:
        if not source.origin:
            yield Finding(source.name, "is an input that comes from nowhere")
        if digests.setdefault(source.name, source.digest) != source.digest:
            yield Finding(source.name, "is an input that was not the same for every parameter")
        if source.row_order >= TOLD:
            users = [entry.name for entry in ledger.entries.values() if source.name in entry.inputs]
            told = f"gives the number of the row away ({100 * source.row_order:.0f} %)"
            yield Finding(source.name, f"{told} to {len(users)} parameters", ledger.n, tuple(users))


def _entry_findings(ledger: Ledger, entry: Entry, saw: Mapping[str, RowSet]) -> Iterator[Finding]:
    known = {source.name for source in ledger.sources}
    for name in entry.inputs:
        if name not in known:
            yield Finding(entry.name, f"was fitted on '{name}', an input that nobody declared")
    missing = [name for name in (*entry.made_with, *entry.learned_from) if name not in ledger.entries]
    for name in missing:
        yield Finding(entry.name, f"was fitted from '{name}', which has no entry")
    if missing:
        return
    yield from _coverage(ledger, entry)
    yield from _seen_rows(ledger, entry, saw)


def _coverage(ledger: Ledger, entry: Entry) -> Iterator[Finding]:
    """Yield whether the entry learned from predictions that nobody says to have made."""
    if not entry.learned_from:
        return
    predicted = RowSet.of([], ledger.n)
    for name in entry.learned_from:
        predicted |= ledger.entries[name].predicts
    unknown = entry.fitted_on - predicted
    if len(unknown):
        yield Finding(entry.name, f"learned from predictions of {len(unknown)} rows that nobody declared", len(unknown))


def _seen_rows(ledger: Ledger, entry: Entry, saw: Mapping[str, RowSet]) -> Iterator[Finding]:
    """Yield whether the entry predicted rows that it was fitted on; if not, whether it saw some through others."""
    seen = RowSet.of([], ledger.n)
    first: tuple[str, ...] = ()
    for path in _paths(ledger, entry) if len(entry.predicts) else ():
        rows = entry.predicts & saw[path[-1]]
        if len(rows) and len(path) == 1:
            yield Finding(entry.name, f"predicted {len(rows)} rows that it was fitted on", len(rows), path)
            return
        seen |= rows
        first = first or (path if len(rows) else ())
    if first:
        problem = f"predicted {len(seen)} rows that it saw through '{first[-1]}'"
        yield Finding(entry.name, problem, len(seen), first, "" if entry.scored else entry.accepted)


def _paths(ledger: Ledger, entry: Entry) -> Iterator[tuple[str, ...]]:
    """Yield the ways from an entry to each that it was made from, the entry itself first, the nearest before others."""
    waiting: list[tuple[str, ...]] = [(entry.name,)]
    known = {entry.name}
    while waiting:
        path = waiting.pop(0)
        yield path
        last = ledger.entries.get(path[-1])
        for name in () if last is None else (*last.made_with, *last.learned_from):
            if name not in known and name in ledger.entries:
                known.add(name)
                waiting.append((*path, name))
