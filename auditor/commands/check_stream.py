"""``audit check --format jsonl``: a line for each submission, as soon as it has been compared."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from auditor.errors import UsageError, escape_json, show_path

if TYPE_CHECKING:
    from auditor.audio.files import FoundFile
    from auditor.ingest.session import IngestEvent, OnEvent
    from auditor.records import CheckResult, Compositions, Pair, Skipped

Check = Callable[[Sequence[bytes], "OnEvent"], "CheckResult"]
"""Compares some files; called with their paths and a callback for each file."""


def stream(
    paths: Sequence[str], check: Check, *, n_at_once: int, on_event: OnEvent
) -> CheckResult | None:
    """Compare files a few at a time, and print a line of JSON for each.

    Parameters
    ----------
    paths : sequence of str
        Files, folders and URLs.
    check : callable
        See ``Check``.
    n_at_once : int
        Files that are compared before their lines are printed.
    on_event : callable
        Called after each file, with how many of all are done.

    Returns
    -------
    CheckResult or None
        All submissions as one result; None if no file could be used.

    Raises
    ------
    UsageError
        If a path does not exist, or there is no audio file.
    """
    from auditor.ingest.submissions import find_submissions

    walk = find_submissions(paths)
    for skipped in walk.unreadable:
        print_line(skipped_line(skipped))
    results = []
    for start in range(0, len(walk.files), n_at_once):
        part = walk.files[start : start + n_at_once]

        def count(event: IngestEvent, start: int = start) -> None:
            on_event(
                dataclasses.replace(event, n_done=start + event.n_done, n_total=len(walk.files))
            )

        for result in _check_part(part, check, count):
            for line in lines_of(result):
                print_line(line)
            results.append(dataclasses.replace(result, skipped=()))
    return merge_results([result for result in results if result.submissions])


def lines_of(result: CheckResult) -> Iterator[dict[str, Any]]:
    """Yield what is said of each submission and each skipped file of a check."""
    from auditor.records import IdentifierConflicts
    from auditor.scoring.identifiers import conflicts_of, named_tracks

    tracks = {track.id: dataclasses.asdict(track) for track in result.tracks}
    thresholds = {use.submission: dataclasses.asdict(use) for use in result.thresholds}
    conflicts = result.identifiers or IdentifierConflicts(0)
    for submission in result.submissions:
        pairs = [pair for pair in result.pairs if pair.a == submission.id]
        listed = result.compositions.matches if result.compositions is not None else ()
        matches = [match for match in listed if match.a == submission.id]
        own = conflicts_of(conflicts, submission.id)
        yield {
            "kind": "submission",
            "path": submission.path,
            "flagged": any(pair.flagged for pair in pairs),
            "threshold": thresholds.get(submission.id),
            "submission": dataclasses.asdict(submission),
            "pairs": [dataclasses.asdict(pair) | {"track": tracks[pair.b]} for pair in pairs],
            "compositions": [dataclasses.asdict(m) | {"track": tracks[m.b]} for m in matches],
            "identifiers": {
                "shared": [dataclasses.asdict(entry) for entry in own.shared],
                "differing": [dataclasses.asdict(entry) for entry in own.differing],
                "tracks": [tracks[i] for i in sorted(named_tracks(own)) if i in tracks],
            },
        }
    for skipped in result.skipped:
        yield skipped_line(skipped)


def skipped_line(skipped: Skipped) -> dict[str, Any]:
    """Return what is said of a file that could not be checked."""
    return {"kind": "skipped"} | dataclasses.asdict(skipped)


def print_line(line: dict[str, Any]) -> None:
    """Print one line of JSON on stdout, at once."""
    sys.stdout.write(escape_json(json.dumps(line, ensure_ascii=False, allow_nan=False)) + "\n")
    sys.stdout.flush()


def _check_part(
    part: Sequence[FoundFile], check: Check, on_event: OnEvent
) -> Iterator[CheckResult]:
    """Yield the results of some files; of those that have gone meanwhile there is none."""
    try:
        yield check([found.path for found in part], on_event)
    except UsageError as error:
        if len(part) == 1:
            from auditor.records import Skipped

            print_line(skipped_line(Skipped.of(show_path(part[0].path), str(error), "missing")))
            return
        for found in part:
            yield from _check_part([found], check, on_event)


def merge_results(results: Sequence[CheckResult]) -> CheckResult | None:
    """Return the results of several checks as that of one, for ``audit decide``."""
    if not results:
        return None
    from auditor.scoring.identifiers import merge_conflicts

    last = results[-1]
    tracks = {track.id: track for result in results for track in result.tracks}
    groups = {group.sha256: group for result in results for group in result.identical}
    return dataclasses.replace(
        last,
        submissions=tuple(track for result in results for track in result.submissions),
        tracks=tuple(tracks[track_id] for track_id in sorted(tracks)),
        pairs=_in_order([pair for result in results for pair in result.pairs]),
        n_pairs_compared=sum(result.n_pairs_compared for result in results),
        identical=tuple(groups[sha256] for sha256 in sorted(groups)),
        compositions=_listed_together([r.compositions for r in results if r.compositions]),
        thresholds=tuple(use for result in results for use in result.thresholds),
        identifiers=merge_conflicts(r.identifiers for r in results if r.identifiers),
    )


def _in_order(pairs: Sequence[Pair]) -> tuple[Pair, ...]:
    """Return the pairs of several checks, one after the other, in the order of a single one.

    Pairs with evidence come by the id of the submission (``scoring.match``), others as the
    submissions do (``scoring.cosine``); conflicts of licences come first (``decisions.apply``).
    """
    if any(pair.evidence is not None for pair in pairs):
        pairs = sorted(pairs, key=lambda pair: (pair.a, -pair.score, pair.b))
    return tuple(sorted(pairs, key=lambda pair: not (pair.flagged and pair.licences_differ)))


def _listed_together(lists: Sequence[Compositions]) -> Compositions | None:
    """Return the composition lists of several checks as that of one."""
    if not lists:
        return None
    return dataclasses.replace(
        lists[-1],
        matches=tuple(match for each in lists for match in each.matches),
        n_pairs=sum(each.n_pairs for each in lists),
        n_compared=sum(each.n_compared for each in lists),
        not_comparable=tuple(one for each in lists for one in each.not_comparable),
    )
