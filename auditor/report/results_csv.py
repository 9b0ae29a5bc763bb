"""Results as CSV, for spreadsheets and scripts: a row for each pair, or each recommended track.

Tags come from strangers: a text that a spreadsheet would take for a formula is led by an apostrophe
(OWASP, "CSV injection"), and signs that act on a terminal are escaped.
"""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterable, Sequence

from auditor.decisions.csv_file import lead_formula
from auditor.errors import show_text
from auditor.records import (
    CheckResult,
    CompositionMatch,
    GeneratedResult,
    IdentifierConflicts,
    MixEntry,
    Pair,
    RecommendResult,
    Repeat,
    Result,
    ScanResult,
    Track,
    TracklistResult,
    find_track,
    pairs_with_tracks,
    tracks_by_id,
)
from auditor.report.text.compositions import listed_matches
from auditor.report.text.evidence import verdict_sentence
from auditor.report.text.general import cluster_name, new_pairs
from auditor.report.text.identifiers import DIFFERING, SHARED

_TRACK_FIELDS = tuple(field.name for field in dataclasses.fields(Track))
_EVIDENCE_FIELDS = (
    *("verdict", "far", "similarity", "witness_score", "n_ranges", "share_a", "share_b"),
    *("a_start_s", "a_end_s", "b_start_s", "b_end_s", "tempo", "pitch_semitones", "repetition"),
    *("correlation", "said"),
)
"""Last columns of the CSV: the verdict, and the best range in seconds; empty where unknown."""

_PAIR_FIELDS = (
    "flagged",
    "identical_file",
    "pair_id",
    "decision",
    "decision_note",
    "decision_by",
    "decision_when",
    "licences_differ",
)


_SEQUENCES = ("melody_a", "melody_b", "chords_a", "chords_b", "moments_b", "step_s")
_COMPOSITION_FIELDS = tuple(
    field.name
    for field in dataclasses.fields(CompositionMatch)
    if field.name not in ("a", "b", *_SEQUENCES)
)

_SAME_FIELDS = ("n_files_a", "n_files_b", "same", "new", "cluster", "a_folder", "b_folder")
"""Very last: files of the same bytes, see ``Pair``, the paths of those of an identical pair, and
whether the last scan did not flag the pair, empty where there was none; the cluster of a flagged
pair, as in the report, and the folders of both files."""


def to_csv(result: Result) -> str:
    """Return a result as CSV (RFC 4180): one row per pair, or per recommended track.

    What could begin a formula in a text cell gets a leading apostrophe (``lead_formula``); numbers
    are left alone.  Genres and the seconds of streams are joined by `` / ``.

    Raises
    ------
    ResultError
        If a pair names a track that the result does not list.
    """
    return table_csv(*result_table(result))


def compositions_csv(result: ScanResult | CheckResult) -> str:
    """Return the list of compositions as CSV, one row per line, as ``to_csv``.

    The melodies and chords are in the JSON alone.

    Raises
    ------
    ResultError
        If a line names a track that the result does not list.
    """
    fields = [f"{side}_{name}" for side in "ab" for name in _TRACK_FIELDS]
    rows = [
        (
            line.rank,
            *(getattr(line.match, name) for name in _COMPOSITION_FIELDS),
            *_track_values(line.a),
            *_track_values(line.b),
        )
        for line in listed_matches(result)
    ]
    return table_csv(("rank", *_COMPOSITION_FIELDS, *fields), rows)


def identifiers_csv(result: ScanResult | CheckResult) -> str:
    """Return where identifiers and sound disagree as CSV, one row per track, as ``to_csv``.

    ``recording`` numbers the recordings of an identifier, as far as they were told apart.

    Raises
    ------
    ResultError
        If the result does not list a track.
    """
    found = result.identifiers or IdentifierConflicts(0)
    tracks = tracks_by_id(result)
    rows = [
        (SHARED, entry.identifier, number, "", *_track_values(find_track(tracks, track_id)))
        for entry in found.shared
        for number, group in enumerate(entry.groups, start=1)
        for track_id in group
    ]
    rows += [
        (DIFFERING, own, 1, entry.pair_id, *_track_values(find_track(tracks, track_id)))
        for entry in found.differing
        for track_id, own in ((entry.a, entry.identifiers_a), (entry.b, entry.identifiers_b))
    ]
    return table_csv(("report", "identifier", "recording", "pair_id", *_TRACK_FIELDS), rows)


def table_csv(names: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table as CSV; texts are made safe for spreadsheets."""
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\r\n")
    writer.writerow(names)
    for cells in rows:
        writer.writerow([_csv_cell(cell) for cell in cells])
    return lines.getvalue()


def result_table(result: Result) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    """Return the names of the columns, and a row of values for each pair or recommended track.

    Raises
    ------
    ResultError
        If a pair names a track that the result does not list.
    """
    if isinstance(result, RecommendResult):
        return ("rank", "score", "nearest_to", *_TRACK_FIELDS, "same"), [
            (rank, answer.score, answer.nearest_to, *_track_values(answer.track), answer.same)
            for rank, answer in enumerate(result.recommendations, start=1)
        ]
    if isinstance(result, TracklistResult):
        return _timeline_table(result)
    if isinstance(result, GeneratedResult):
        return _generated_table(result)
    fields = [f"{side}_{name}" for side in "ab" for name in _TRACK_FIELDS]
    names = ("score", "threshold", *_PAIR_FIELDS, *fields, *_EVIDENCE_FIELDS, *_SAME_FIELDS)
    paths = {track.id: track.path for track in result.tracks}
    same = {
        track_id: tuple(paths[other] for other in group.tracks if other in paths)
        for group in result.identical
        for track_id in group.tracks
    }
    own = result.thresholds if isinstance(result, CheckResult) else ()
    thresholds = {use.submission: use.threshold for use in own}
    rows: list[tuple[object, ...]] = []
    since = result.since if isinstance(result, ScanResult) else None
    new = new_pairs(result)
    clusters = result.clusters if isinstance(result, ScanResult) else ()
    cluster_of = {
        track_id: cluster_name(number)
        for number, cluster in enumerate(clusters, start=1)
        for track_id in cluster.tracks
    }
    for pair, a, b in pairs_with_tracks(result):
        threshold = thresholds.get(pair.a, result.threshold.threshold)
        said = (getattr(pair, name) for name in _PAIR_FIELDS)
        of_tracks = (*_track_values(a), *_track_values(b))
        known = (pair.score, threshold, *said, *of_tracks, *_evidence_values(pair))
        copies = same.get(pair.b, ()) if pair.identical_file else ()
        is_new = pair.flagged and pair.pair_id in new if since is not None else None
        cluster = cluster_of.get(pair.a, "") if cluster_of.get(pair.b) and pair.flagged else ""
        folders = (track.path.rpartition("/")[0] for track in (a, b))
        rows.append((*known, pair.n_files_a, pair.n_files_b, copies, is_new, cluster, *folders))
    return names, rows


def _timeline_table(
    result: TracklistResult,
) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    """Return a row for each entry of a mix, in order of time."""
    names = tuple(field.name for field in dataclasses.fields(MixEntry) if field.name != "track")
    tracks = {track.id: track for track in result.tracks}
    rows = []
    for number, entry in enumerate(result.entries, start=1):
        values = (getattr(entry, name) for name in names)
        rows.append((number, *values, *_track_values(find_track(tracks, entry.track))))
    return ("number", *names, *_TRACK_FIELDS), rows


def _generated_table(
    result: GeneratedResult,
) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    """Return a row for each passage of each output, and one for each output without any.

    The columns of the manifest come last, each with ``manifest_`` before its name.
    """
    tracks = {track.id: track for track in result.tracks}
    names = tuple(f.name for f in dataclasses.fields(Repeat) if f.name not in ("output", "track"))
    columns = sorted({name for output in result.outputs for name in output.columns})
    first_of = {track_id: group.tracks for group in result.identical for track_id in group.tracks}
    of_output: dict[str, list[Repeat]] = {}
    for repeat in result.repeats:
        for track_id in first_of.get(repeat.output, (repeat.output,)):
            of_output.setdefault(track_id, []).append(repeat)
    rows: list[tuple[object, ...]] = []
    for output in result.outputs:
        own = find_track(tracks, output.track)
        manifest = tuple(output.columns.get(name, "") for name in columns)
        known = (output.training_s, output.heldout_s)
        for one in of_output.get(output.track, [None]):
            values: tuple[object, ...] = (None,) * len(names)
            other: tuple[object, ...] = (None,) * len(_TRACK_FIELDS)
            if one is not None:
                values = tuple(getattr(one, name) for name in names)
                other = _track_values(find_track(tracks, one.track))
            rows.append((*known, *values, *_track_values(own), *other, *manifest))
    fields = [f"{side}_{name}" for side in "ab" for name in _TRACK_FIELDS]
    manifest_names = [f"manifest_{name}" for name in columns]
    return ("training_s", "heldout_s", *names, *fields, *manifest_names), rows


def _evidence_values(pair: Pair) -> tuple[object, ...]:
    evidence = pair.evidence
    said = verdict_sentence(pair)
    if evidence is None:
        return pair.verdict, pair.far, pair.similarity, *(None,) * 12, said
    whole = (evidence.score, len(evidence.ranges), evidence.share_a, evidence.share_b)
    best: tuple[object, ...] = (None,) * 8
    if evidence.ranges:
        first = evidence.ranges[0]
        best = (
            *(first.a_start_s, first.a_end_s, first.b_start_s, first.b_end_s),
            *(first.tempo, first.pitch_semitones, first.repetition, first.correlation),
        )
    return pair.verdict, pair.far, pair.similarity, *whole, *best, said


def _track_values(track: Track) -> tuple[object, ...]:
    return tuple(getattr(track, name) for name in _TRACK_FIELDS)


def _csv_cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    text = " / ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    text = (
        "".join(c if c in "\t\r\n" else show_text(c) for c in text)
        if not text.isprintable()
        else text
    )
    return lead_formula(text)
