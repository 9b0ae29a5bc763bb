"""Lists that ``audit leak`` writes: files to remove, a grouped split, groups of near-duplicates.

Nothing in them changes from run to run of the same data: no time, no duration of the run.
"""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Mapping

from auditor.api.split_lists import (
    DropSide,
    PlacedFile,
    RemovedFile,
    files_to_remove,
    grouped_split,
    rows_to_csv,
)
from auditor.decisions.csv_file import lead_formula
from auditor.errors import UsageError
from auditor.records import LeakResult, Pair, find_track
from auditor.report.results_parquet import import_pyarrow

GROUP_COLUMNS = (
    *(
        "group",
        "kind",
        "verdict",
        "score",
        "split_a",
        "split_b",
        "id_a",
        "id_b",
        "path_a",
        "path_b",
    ),
    *("a_start_s", "a_end_s", "b_start_s", "b_end_s", "tempo", "pitch_semitones"),
    *("sha256_a", "sha256_b"),
)


def removal_csv(result: LeakResult, side: DropSide) -> tuple[str, int]:
    """Return the list of files to remove as CSV, and how many there are."""
    files = files_to_remove(result, side)
    names = [field.name for field in dataclasses.fields(RemovedFile)]
    return rows_to_csv(files, names), len(files)


def grouped_tables(
    result: LeakResult, files: Mapping[str, tuple[str, str]]
) -> tuple[str, bytes, int]:
    """Return a grouped split as CSV and Parquet, and how many files changed their split.

    Parquet is empty where pyarrow is not installed.

    Parameters
    ----------
    result : LeakResult
    files : mapping
        Path and SHA-256 of every file, by id.
    """
    placed = grouped_split(result, files)
    names = [field.name for field in dataclasses.fields(PlacedFile)]
    n_moved = sum(file.split != file.split_before for file in placed)
    return rows_to_csv(placed, names), _parquet(placed, names), n_moved


def _parquet(placed: list[PlacedFile], names: list[str]) -> bytes:
    try:
        pa, pq = import_pyarrow("the grouped split as Parquet")
    except UsageError:
        return b""
    kinds = {"group": pa.int64()}
    arrays = [
        pa.array(
            [
                value if isinstance(value, int) else value.encode("utf-8", "replace").decode()
                for value in (getattr(file, name) for file in placed)
            ],
            kinds.get(name, pa.string()),
        )
        for name in names
    ]
    file = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(arrays, names=names), file)
    return file.getvalue()


def groups_csv(result: LeakResult) -> str:
    """Return every flagged pair with its group, as CSV: leaks and duplicates, by group.

    ``kind`` is ``leak`` or ``duplicate``; times are those of the best range, in seconds.  Paths are
    relative to the folder that all files have in common.
    """
    group_of = {i: n for n, group in enumerate(result.groups, start=1) for i in group.tracks}
    tracks = {track.id: track for track in result.tracks}
    cut = len(_common_folder([track.path for track in result.tracks]))

    def row(kind: str, pair: Pair) -> tuple[object, ...]:
        a, b = find_track(tracks, pair.a), find_track(tracks, pair.b)
        best = pair.evidence.ranges[0] if pair.evidence and pair.evidence.ranges else None
        times: tuple[object, ...] = ("",) * 6
        if best is not None:
            pitch = best.pitch_semitones
            times = (
                *(round(best.a_start_s, 2), round(best.a_end_s, 2)),
                *(round(best.b_start_s, 2), round(best.b_end_s, 2)),
                *(round(best.tempo, 4), "" if pitch is None else round(pitch, 2) + 0.0),
            )
        return (
            *(group_of.get(pair.a, 0), kind, pair.verdict, round(pair.score, 4)),
            *(result.split_of.get(pair.a, ""), result.split_of.get(pair.b, ""), a.id, b.id),
            *(a.path[cut:], b.path[cut:], *times, a.sha256, b.sha256),
        )

    rows = [row("leak", pair) for pair in result.pairs if pair.flagged]
    rows += [row("duplicate", pair) for pair in result.duplicates]
    rows.sort(key=lambda cells: (cells[0], str(cells[6]), str(cells[7])))
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\r\n")
    writer.writerow(GROUP_COLUMNS)
    for cells in rows:
        writer.writerow([lead_formula(c) if isinstance(c, str) else repr(c) for c in cells])
    return lines.getvalue()


def _common_folder(paths: list[str]) -> str:
    """Return the folder that all paths lie in, with its slash.

    Examples
    --------
    >>> _common_folder(["/a/b/c.mp3", "/a/b/d/e.mp3"]), _common_folder([])
    ('/a/b/', '')
    """
    if not paths:
        return ""
    first, last = min(paths), max(paths)
    n = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return first[: first.rfind("/", 0, n) + 1]
