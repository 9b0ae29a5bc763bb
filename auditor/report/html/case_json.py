"""Cases as JSON for the page's script: texts as they are shown, numbers where it draws or plays.

Clips and matrices are not in it: they stand in the page as elements, and the script takes them
from there.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

from auditor.decisions.csv_file import COLUMNS
from auditor.errors import show_text
from auditor.records import CheckResult, MatchedRange, ScanResult, Track, to_json
from auditor.report.html.cases import CaseView, MediaLookup, Row
from auditor.report.html.shapes import draw_ruler, pack_peaks, raise_peaks, thin_peaks
from auditor.report.html.tracks import TrackView, track_view
from auditor.report.text.compositions import ListedMatch, matches_in_order
from auditor.report.text.evidence import show_times, what_differs
from auditor.report.text.general import show_decider

_ONE_SPEED_SEMITONES = 0.35


def cases_data(
    result: ScanResult | CheckResult,
    rows: Sequence[Row],
    cases: Sequence[CaseView],
    shelf: MediaLookup,
) -> dict[str, Any]:
    """Return what the script needs of all cases.

    Parameters
    ----------
    result : ScanResult or CheckResult
    rows : sequence of (Pair, Track, Track)
    cases : sequence of CaseView
        The same pairs in the same order.
    shelf : MediaLookup

    Returns
    -------
    dict
        ``report`` names the result, so that decisions are kept apart from those of other reports;
        ``columns`` are those of a file of decisions; the tracks of ``pairs`` and
        ``compositions`` are places in ``tracks``.
    """
    places: dict[Track, int] = {}
    tracks: list[list[Any]] = []
    listed = matches_in_order(result)
    shown = [
        side
        for (_, a, b), case in zip(rows, cases, strict=True)
        for side in ((a, case.a.track), (b, case.b.track))
    ]
    shown += [(track, track_view(track)) for line in listed for track in (line.a, line.b)]
    for track, view in shown:
        if track not in places:
            places[track] = len(tracks)
            tracks.append(_track(track, view, shelf))
    content = to_json(result).encode("utf-8", "backslashreplace")
    return {
        "report": hashlib.sha256(content).hexdigest()[:16],
        "columns": COLUMNS,
        "tracks": tracks,
        "pairs": [
            _pair(row, case, places[row[1]], places[row[2]], shelf.pair(row[0]).lacking)
            for row, case in zip(rows, cases, strict=True)
        ],
        "compositions": [_composition(line, places[line.a], places[line.b]) for line in listed],
    }


def _composition(line: ListedMatch, a: int, b: int) -> dict[str, Any]:
    """Return what a decision on a line needs; its picture stands in the page."""
    match = line.match
    note = show_text(" / ".join(match.decision_note.splitlines()))
    data: dict[str, Any] = {"id": match.pair_id, "a": a, "b": b}
    optional = {"decision": match.decision, "decided": show_decider(match), "note": note}
    return data | {name: value for name, value in optional.items() if value}


def _track(track: Track, view: TrackView, shelf: MediaLookup) -> list[Any]:
    media = shelf.track(track.id)
    peaks = pack_peaks(raise_peaks(thin_peaks(media.peaks)))
    seconds = round(track.duration_s, 2)
    ruler = [[mark.x, mark.label] for mark in draw_ruler(track.duration_s)]
    return [view.label, view.facts, seconds, view.values, peaks, media.link, view.brief, ruler]


def _pair(row: Row, case: CaseView, a: int, b: int, lacking: str) -> dict[str, Any]:
    pair = row[0]
    data: dict[str, Any] = {
        "id": pair.pair_id,
        "a": a,
        "b": b,
        "verdict": case.verdict,
        "group": case.group,
        **case.cells,
    }
    optional = {
        "coded": case.coded,
        "meaning": case.meaning,
        "badges": case.badges,
        "decision": pair.decision,
        "decided": case.decided,
        "note": case.note,
        "cluster": case.cluster,
        "origin": case.origin,
        "below": not case.flagged,
        "lacking": lacking,
    }
    data |= {name: value for name, value in optional.items() if value}
    if pair.evidence is not None:
        data["facts"] = [value for *_, value in case.facts]
        data["ranges"] = [_range(heard) for heard in pair.evidence.ranges]
    return data


def _range(heard: MatchedRange) -> list[Any]:
    times = (heard.a_start_s, heard.a_end_s, heard.b_start_s, heard.b_end_s)
    return [
        *(round(time_s, 2) for time_s in times),
        round(heard.tempo, 5),
        show_times(heard.a_start_s, heard.a_end_s),
        show_times(heard.b_start_s, heard.b_end_s),
        what_differs(heard),
        int(_is_one_speed(heard)),
        round(heard.pitch_semitones or 0.0, 2),
    ]


def _is_one_speed(heard: MatchedRange) -> bool:
    """Say whether another speed alone explains tempo and pitch, as that of a turntable does."""
    if heard.pitch_semitones is None:
        return False
    return abs(heard.pitch_semitones - 12.0 * math.log2(heard.tempo)) <= _ONE_SPEED_SEMITONES
