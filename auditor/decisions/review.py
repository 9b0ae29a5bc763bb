"""The pairs of a result that nobody has decided yet, and the files behind them.

The last scan and the last check of a workspace are kept in it as JSON.  A result may come from a
stranger, so a file it names is opened only if it has the extension of audio and the very bytes the
result speaks of.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from auditor.audio.files import hash_file
from auditor.audio.formats import SUFFIXES
from auditor.audio.object_store import fetched, is_object
from auditor.catalogue.catalogue import Catalogue
from auditor.decisions.apply import Hashes, in_order
from auditor.errors import AudioError, AuditError, ResultError, show_path
from auditor.records import (
    CheckResult,
    CompareResult,
    CompositionMatch,
    MatchedRange,
    Pair,
    RecommendResult,
    ScanResult,
    Track,
    TracklistResult,
    compositions_with_tracks,
    pairs_with_tracks,
    result_from_json,
    to_json,
)
from auditor.serialisation import atomic_write

LAST_SCAN, LAST_CHECK = "last-scan.json", "last-check.json"
LAST_COMPARISON, LAST_TRACKLIST = "last-compare.json", "last-tracklist.json"
"""Names of the last results in the workspace."""

KNOWN_PAIRS = "known-pairs.txt"
"""Both hashes of the pairs of earlier checks, a line a pair, the newest last."""

MAX_KNOWN_PAIRS = 20_000
"""Pairs of checks whose ids are known; 130 bytes each."""

_PAIR_LINE = re.compile(r"([0-9a-f]{64}) ([0-9a-f]{64})")
MAX_RESULT_BYTES = 1 << 30


@dataclass(frozen=True)
class Case:
    """A flagged pair, of recordings or of compositions, with its tracks and their hashes."""

    pair: Pair | CompositionMatch
    a: Track
    b: Track
    hashes: Hashes

    @property
    def passages(self) -> tuple[tuple[float, float, float, float], ...]:
        """Where both match: start and end in a, then in b, in seconds."""
        if isinstance(self.pair, CompositionMatch):
            ranges: Sequence[CompositionMatch | MatchedRange] = [self.pair]
        else:
            ranges = self.pair.evidence.ranges if self.pair.evidence else ()
        return tuple((r.a_start_s, r.a_end_s, r.b_start_s, r.b_end_s) for r in ranges)


def keep_last(directory: Path, result: ScanResult | CheckResult) -> None:
    """Keep a result in its workspace, in place of the scan, check or comparison before.

    Raises
    ------
    OSError
        If it cannot be written; the one before stays.
    """
    name = LAST_SCAN if isinstance(result, ScanResult) else LAST_CHECK
    if isinstance(result, CompareResult):
        name = LAST_COMPARISON
    if isinstance(result, TracklistResult):
        name = LAST_TRACKLIST
    path = directory / name
    atomic_write(path, (to_json(result) + "\n").encode("utf-8", "backslashreplace"))
    if isinstance(result, CheckResult):
        _remember_pairs(directory / KNOWN_PAIRS, [hashes for *_, hashes in _contents(result)])


def _contents(result: ScanResult | CheckResult) -> Iterator[tuple[Pair, Hashes]]:
    """Yield the pairs of a result that are flagged or decided, with their hashes."""
    for pair, a, b in pairs_with_tracks(result):
        if pair.flagged or pair.decision:
            yield pair, in_order(a.sha256, b.sha256)


def _remember_pairs(path: Path, pairs: Sequence[Hashes]) -> None:
    """Add pairs to those of earlier checks; of very many the oldest are forgotten."""
    known = dict.fromkeys(pair for pair in read_known_pairs(path) if pair not in set(pairs))
    kept = [*known, *dict.fromkeys(pairs)][-MAX_KNOWN_PAIRS:]
    atomic_write(path, "".join(f"{a} {b}\n" for a, b in kept).encode())


def known_pairs(directory: Path) -> list[Hashes]:
    """Return the hashes of the pairs of earlier checks of a workspace, the oldest first."""
    return read_known_pairs(directory / KNOWN_PAIRS)


def read_known_pairs(path: Path) -> list[Hashes]:
    """Return the pairs that a file names; lines that name none are passed over."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            text = file.read(2 * 130 * MAX_KNOWN_PAIRS)
    except OSError:
        return []
    lines = (_PAIR_LINE.fullmatch(line) for line in text.splitlines())
    return [in_order(line[1], line[2]) for line in lines if line]


def last_scan(directory: Path) -> ScanResult | None:
    """Return the last scan of a workspace, None if none is kept or another version wrote it."""
    try:
        result = load_result(directory / LAST_SCAN)
    except ResultError:
        return None
    return result if isinstance(result, ScanResult) else None


def last_check(directory: Path) -> CheckResult | None:
    """Return the last check of a workspace, None if none is kept or another version wrote it."""
    try:
        result = load_result(directory / LAST_CHECK)
    except ResultError:
        return None
    return result if isinstance(result, CheckResult) else None


def last_comparison(directory: Path) -> CompareResult | None:
    """Return the last comparison of two collections, None if none is kept, as ``last_scan``."""
    try:
        result = load_result(directory / LAST_COMPARISON)
    except ResultError:
        return None
    return result if isinstance(result, CompareResult) else None


def load_result(path: str | os.PathLike[str]) -> ScanResult | CheckResult:
    """Read the JSON of a scan or check.

    Raises
    ------
    ResultError
        If it cannot be read, or is something else.
    """
    shown = show_path(path)
    try:
        if not os.path.isfile(path):
            raise ResultError(f"{shown} is not a file. Give the JSON beside a report.")
        if os.path.getsize(path) > MAX_RESULT_BYTES:
            raise ResultError(
                f"{shown} is larger than 1 GiB, the limit for a result file. Give another file."
            )
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except OSError as error:
        raise ResultError(f"{shown} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise ResultError(f"{shown} is not UTF-8. Give the JSON beside a report.") from None
    try:
        result = result_from_json(text)
    except ResultError as error:
        raise ResultError(f"{shown}: {error}") from None
    if isinstance(result, RecommendResult):
        raise ResultError(f"{shown} is of audit recommend. Give one of audit scan or check.")
    return result


def cases(result: ScanResult | CheckResult) -> list[Case]:
    """Return the flagged pairs of a result, one for each two contents: recordings come first.

    Raises
    ------
    ResultError
        If the result does not list a track that a pair names.
    """
    found: dict[Hashes, Case] = {}
    pairs: list[tuple[Pair | CompositionMatch, Track, Track]] = []
    pairs += pairs_with_tracks(result)
    pairs += compositions_with_tracks(result)
    for pair, a, b in pairs:
        if pair.flagged:
            hashes = in_order(a.sha256, b.sha256)
            found.setdefault(hashes, Case(pair, a, b, hashes))
    return list(found.values())


def undecided(found: Sequence[Case], decided: Collection[Hashes]) -> list[Case]:
    """Return the cases that are not among the decided pairs."""
    return [case for case in found if case.hashes not in decided]


def find_file(catalogue: Catalogue, track: Track) -> str:
    """Return a file that holds a track, as an absolute path; empty if there is none any more.

    What lies in an object store is left to ``copy_object``.

    A copy that the catalogue knows of comes before the path in the result.  Either must have the
    extension of audio and the content that the track has.
    """
    known = [os.fsdecode(path) for _, path in catalogue.ids_by_sha256(track.sha256) if path]
    for path in dict.fromkeys((*known, os.path.abspath(track.path))):
        if os.path.splitext(path)[1].lower() in SUFFIXES and os.path.isfile(path):
            with contextlib.suppress(OSError, AudioError):
                if hash_file(path) == track.sha256:
                    return path
    return ""


def copy_object(catalogue: Catalogue, track: Track, copies: contextlib.ExitStack) -> str:
    """Return a copy of a track that lies in an object store, kept until ``copies`` is closed.

    Empty if there is none.  Only what the catalogue names is asked for: a result comes from a
    stranger.
    """
    for _, url in catalogue.ids_by_sha256(track.sha256):
        if is_object(url) and os.path.splitext(os.fsdecode(url))[1].lower() in SUFFIXES:
            with contextlib.suppress(OSError, AuditError):
                copy = copies.enter_context(fetched(url))
                if hash_file(copy) == track.sha256:
                    return os.fsdecode(copy)
    return ""
