"""What the template of a check is given: a verdict per submission, its cases, the certificate."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from auditor.calibration.thresholds import WHOLE_S
from auditor.records import CheckResult, Track, TracklistResult, pairs_with_tracks, result_bytes
from auditor.report.html.case_json import cases_data
from auditor.report.html.cases import CaseView, MediaLookup, Row, case_order, case_view
from auditor.report.html.dossier import dossier_view
from auditor.report.html.identifiers import identifiers_view
from auditor.report.html.timeline import timeline_view
from auditor.report.html.tracks import TrackView, track_view
from auditor.report.text.error_rates import (
    detection_line,
    false_alarm_rate,
    false_pairs,
    n_pairs_of,
    own_thresholds,
    per_thousand,
    show_comparisons,
    show_threshold,
)
from auditor.report.text.general import (
    compared_with_nothing,
    comparison_gaps,
    is_set_aside,
    show_count,
    show_duration,
    show_search,
    show_when,
    submission_grade,
    submission_verdict,
)


@dataclass(frozen=True)
class SubmissionView:
    """One submission of a check: its verdict, its flagged pairs, its nearest unflagged one.

    ``set_aside`` holds the pairs that were decided not to matter; ``grade`` is the answer in two
    words, ``answer`` in a line.
    """

    track: TrackView
    verdict: str
    flagged: bool
    clear: bool
    cases: tuple[CaseView, ...]
    set_aside: tuple[CaseView, ...] = ()
    grade: str = ""
    answer: str = ""


@dataclass(frozen=True)
class CertifiedFile:
    """A submission without any match, and what names it a year later."""

    label: str
    file: str
    sha256: str
    duration: str
    gap: str


def check_view(result: CheckResult, shelf: MediaLookup) -> dict[str, Any]:
    """Return the variables of the template of a check.

    Raises
    ------
    ResultError
        If a pair names a track that the result does not list.
    """
    place = {track.id: i for i, track in enumerate(result.submissions)}
    rows = sorted(pairs_with_tracks(result), key=lambda row: (place[row[1].id], *case_order(row)))
    cases = [
        case_view(number, row, sides=("submission", "track"), n_counted=result.threshold.n_counted)
        for number, row in enumerate(rows, start=1)
    ]
    of_submission: dict[str, list[tuple[Row, CaseView]]] = {id_: [] for id_ in place}
    for row, case in zip(rows, cases, strict=True):
        of_submission[row[1].id].append((row, case))
    own, alone = own_thresholds(result), compared_with_nothing(result)
    submissions = [
        _submission(track, of_submission[track.id], own.get(track.id, ""), alone=track.id in alone)
        for track in result.submissions
    ]
    clear = [
        track
        for track, view in zip(result.submissions, submissions, strict=True)
        if view.clear and result.n_pairs_compared
    ]
    found = detection_line(result.detection, result.detection_s)
    lines = result.compositions.matches if result.compositions is not None else ()
    timeline = timeline_view(result, rows) if isinstance(result, TracklistResult) else {}
    return timeline | {
        "submissions": submissions,
        "cases": cases,
        "cases_data": cases_data(result, rows, cases, shelf) if rows or lines else None,
        **dossier_view(rows, cases, shelf),
        **identifiers_view(result),
        "side_names": ("A (submission)", "B (catalogue)"),
        "certified": [_certified(track) for track in clear],
        "all_clear": 0 < len(clear) == len(submissions),
        "found": found[:1].upper() + found[1:],
        "short_note": _short_note(clear, result.detection_s),
        "certificate": _certificate(result) if clear else (),
    }


def _submission(
    track: Track, found: Sequence[tuple[Row, CaseView]], threshold: str, *, alone: bool
) -> SubmissionView:
    cases = [case for row, case in found if not is_set_aside(row[0])]
    set_aside = [case for row, case in found if is_set_aside(row[0])]
    n_flagged = sum(
        pair.n_files_b for (pair, _, _), case in found if case in cases and case.flagged
    )
    grade, answer = _grade(
        track, cases, n_flagged=n_flagged, n_set_aside=len(set_aside), alone=alone
    )
    return SubmissionView(
        grade=grade,
        answer=answer,
        track=track_view(track),
        verdict=submission_verdict(
            track, n_flagged, len(set_aside), threshold=threshold, alone=alone
        ),
        flagged=n_flagged > 0,
        clear=not n_flagged and not set_aside and not track.silent and not alone,
        cases=tuple(cases),
        set_aside=tuple(set_aside),
    )


def _grade(
    track: Track,
    cases: Sequence[CaseView],
    *,
    n_flagged: int,
    n_set_aside: int,
    alone: bool,
) -> tuple[str, str]:
    """Return what a submission is given at one glance: two words, and a line."""
    grade = submission_grade(track, n_flagged, n_set_aside, alone=alone)
    if n_flagged:
        best = next(case for case in cases if case.flagged)
        others = f", and {n_flagged - 1:,} more" if n_flagged > 1 else ""
        return grade, f"{best.verdict}: {best.b.track.label}{others}"
    if n_set_aside:
        return grade, f"{show_count(n_set_aside, 'pair')} set aside by earlier decisions"
    return grade, comparison_gaps(track)


def _short_note(tracks: Sequence[Track], detection_s: float | None) -> str:
    """Return of which length the figures are, where a submission is much shorter than a track."""
    short = [track for track in tracks if track.duration_s < WHOLE_S]
    if not short:
        return ""
    least = min(track.duration_s for track in short)
    if detection_s is not None:
        them = "this submission" if len(tracks) == 1 else "the shortest submission"
        return (
            f"They are figures of copies of {detection_s:g} s, the greatest length measured that "
            f"{them} ({show_duration(least)}) reaches."
        )
    them = "This submission lasts" if len(tracks) == 1 else "The shortest submission lasts"
    return (
        f"They are figures of whole tracks. {them} {show_duration(least)}, and of clips below "
        f"{show_duration(WHOLE_S)} fewer are found."
    )


def _certified(track: Track) -> CertifiedFile:
    return CertifiedFile(
        track_view(track).label,
        track_view(track).path.rsplit("/", 1)[-1],
        track.sha256,
        show_duration(track.duration_s),
        comparison_gaps(track),
    )


def _certificate(result: CheckResult) -> Mapping[str, str]:
    use, made = result.threshold, result.provenance
    content = result_bytes(result)
    n_skipped = len(result.skipped)
    n_gaps = sum(bool(comparison_gaps(track)) for track in result.submissions)
    expected, many = false_pairs(use, result.n_pairs_compared), per_thousand(result)
    return {
        "Date": show_when(made.created),
        "Compared with": f"{show_count(result.n_tracks, 'track')} of {made.workspace}",
        "Fingerprint of the catalogue": result.catalogue_sha256 or "not known",
        "Comparisons": f"{_comparisons(result)}; {show_search(result)}",
        "Threshold": f"{show_threshold(result)}, from {use.source}",
        "False alarm rate": false_alarm_rate(use),
        "Expected false alarms": f"{expected}, {many}" if many else expected,
        "Files not examined": f"{n_skipped:,}{', listed below' if n_skipped else ''}",
        "Not compared, or in part": show_count(n_gaps, "submission"),
        "Made by": f"audit {made.version}, extractor {made.extractor}, weights {made.weights_id}",
        "SHA-256 of the JSON file": hashlib.sha256(content).hexdigest(),
    }


def _comparisons(result: CheckResult) -> str:
    pairs = show_comparisons(result)
    if n_pairs_of(result) == result.n_pairs_compared:
        return pairs
    return f"{pairs}, {result.n_pairs_compared:,} of them similar enough for detailed comparison"
