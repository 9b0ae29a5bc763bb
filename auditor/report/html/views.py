"""What the templates are given: the result's numbers as text, in the order the page shows them.

What only a scan or a check has is made in ``scan_view`` and ``check_view``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from auditor.records import (
    CheckResult,
    CompareResult,
    GeneratedResult,
    RecommendResult,
    Result,
    ScanResult,
    Track,
)
from auditor.report.html.cases import MediaLookup
from auditor.report.html.check import check_view
from auditor.report.html.compositions import compositions_view
from auditor.report.html.dossier import detection_view
from auditor.report.html.recommend import recommend_view
from auditor.report.html.scan import scan_view
from auditor.report.html.tracks import TRACK_FIELDS, provenance_rows
from auditor.report.media.model import Media
from auditor.report.text.compositions import per_cent
from auditor.report.text.error_rates import (
    chance_words,
    counted_note,
    false_alarm_rate,
    false_pairs,
    likely_number,
    lowest_note,
    n_pairs_of,
    per_thousand,
    score_meaning,
    show_budget,
    show_compared,
    show_comparisons,
    show_threshold,
)
from auditor.report.text.general import (
    count_not_wholly_compared,
    has_larger_cluster,
    headline,
    not_wholly_compared,
    show_count,
    show_number,
    show_search,
    show_when,
)


@dataclass(frozen=True)
class Figure:
    """One number of the summary; the page's script finds it by its name, where it has one."""

    label: str
    value: str
    note: str = ""
    accent: bool = False
    name: str = ""


def page_view(result: Result, media: Media | None = None) -> dict[str, Any]:
    """Return the variables of the template of the result's kind.

    Raises
    ------
    ResultError
        If a pair or cluster names a track that the result does not list, or the histogram is
        not consistent.
    """
    view: dict[str, Any] = {
        "headline": headline(result),
        "created": show_when(result.provenance.created),
        "fields": TRACK_FIELDS,
        "provenance": _provenance(result),
        "tiles": (),
        "skipped": (),
        "notes": (),
    }
    if isinstance(result, RecommendResult):
        return view | recommend_view(result, media)
    use = result.threshold
    known = use.expected_false_pairs is not None
    n_expected = show_number(use.expected_false_pairs or 0.0)
    noun = "false alarms" if isinstance(result, CheckResult) else "false pairs"
    expected = f"; expected {noun} {n_expected}" if known else ""
    shelf = MediaLookup.of(media)
    view |= {
        "headline": headline(result) + expected,
        "threshold": show_threshold(result),
        "per_thousand": per_thousand(result),
        "threshold_meaning": score_meaning(use.far, use.n_counted),
        "counted": counted_note(use),
        "threshold_known": known,
        "expected": n_expected if known else "unknown",
        "likely": likely_number(use, result.n_pairs_compared),
        "false_pairs": false_pairs(use, result.n_pairs_compared),
        "false_alarm_rate": false_alarm_rate(use),
        "n_compared": show_compared(result),
        "n_comparisons": show_comparisons(result),
        "examined": _examined(result),
        "chance": chance_words(use, sum(pair.flagged for pair in result.pairs)),
        "n_tracks": show_count(result.n_tracks, "track"),
        "skipped": result.skipped,
        "notes": tuple(filter(None, (lowest_note(use), use.note, *_own_notes(result)))),
        "media_notes": media.notes if media else (),
        "tiles": _tiles(result),
        "detection": detection_view(result.detection),
        "compositions": compositions_view(result, shelf, media),
    }
    if isinstance(result, CheckResult):
        return view | check_view(result, shelf)
    return view | scan_view(result, shelf)


def _own_notes(result: ScanResult | CheckResult) -> tuple[str, ...]:
    return result.notes if isinstance(result, CompareResult) else ()


def _tiles(result: ScanResult | CheckResult) -> tuple[Figure, ...]:
    n_flagged = sum(pair.flagged for pair in result.pairs)
    compared = Figure("Pairs compared", f"{result.n_pairs_compared:,}", show_search(result))
    tracks = Figure("Tracks", f"{result.n_tracks:,}")
    flagged = Figure("Pairs flagged", f"{n_flagged:,}", accent=n_flagged > 0, name="flagged")
    skipped = Figure("Files skipped", f"{len(result.skipped):,}")
    if isinstance(result, CheckResult):
        submissions = Figure("Submissions", f"{len(result.submissions):,}")
        gaps = _gaps(result.submissions, "of the submissions")
        first = (submissions, flagged, *_compositions(result))
        return (*first, tracks, compared, skipped, gaps)
    n_left_out = sum(track.silent or track.missing for track in result.tracks)
    besides = f"plus {n_left_out:,} silent or missing" if n_left_out else ""
    tiles = [dataclasses.replace(tracks, note=besides), compared, flagged, *_compositions(result)]
    if isinstance(result, GeneratedResult):
        n_outputs = Figure("Outputs", f"{len(result.outputs):,}")
        segments = dataclasses.replace(
            compared, label="Segments × tracks examined", note=f"{result.n_segments:,} segments"
        )
        all_tracks = dataclasses.replace(tracks, note=besides)
        tiles = [n_outputs, all_tracks, segments, flagged, *_compositions(result)]
    if has_larger_cluster(result):
        tiles.append(Figure("Clusters", f"{len(result.clusters):,}"))
    return (*tiles, skipped, _gaps(result.tracks))


def _compositions(result: ScanResult | CheckResult) -> tuple[Figure, ...]:
    """Return how many lines are flagged as the same composition, if compositions were compared."""
    found = result.compositions
    if found is None:
        return ()
    n_flagged = sum(match.flagged for match in found.matches)
    chance = f"at most {per_cent(found.max_chance_share)} of them chance" if n_flagged else ""
    return (Figure("Same composition", f"{n_flagged:,}", chance, accent=n_flagged > 0),)


def _gaps(tracks: Sequence[Track], otherwise: str = "") -> Figure:
    """Return how many tracks were not compared, or not wholly, and why."""
    odd = not_wholly_compared(tracks)
    why = count_not_wholly_compared(odd, "track").partition(": ")[2]
    return Figure("Not fully compared", f"{len(odd):,}", why or otherwise)


def _examined(result: ScanResult | CheckResult) -> str:
    """Return how many of the pairs were looked at closely; empty if all were."""
    n_compared = result.n_pairs_compared
    if n_pairs_of(result) == n_compared:
        return ""
    return f"{n_compared:,} of them were similar enough for detailed comparison"


def _provenance(result: Result) -> list[tuple[str, str]]:
    made = result.provenance
    rows = provenance_rows(made)
    if not isinstance(result, RecommendResult):
        use = result.threshold
        rows += [
            ("Threshold", show_threshold(result)),
            ("Threshold from", use.source),
            ("False alarm rate", false_alarm_rate(use)),
            ("Error budget", show_budget(use)),
            ("Expected false pairs", false_pairs(use, result.n_pairs_compared)),
        ]
    return [(name, value) for name, value in rows if value]
