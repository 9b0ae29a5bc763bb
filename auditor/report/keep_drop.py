"""Which files of a scan to keep and which to drop: as CSV, Parquet, a playlist, or a shell script.

A file is dropped only if it is the same recording as the file that is kept: they are a pair of the
scan with the verdict "identical file" or "same recording", or hold the same bytes.  Everything else
is for people to decide.  The script moves files and never deletes or overwrites one; names come
from strangers, so each is quoted, and one that no line can hold is left out and said to be.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from auditor.errors import UsageError, show_text
from auditor.records import Cluster, Pair, ScanResult, Track, Verdict, find_track
from auditor.report.results_csv import table_csv
from auditor.report.results_parquet import import_pyarrow, plain_value
from auditor.report.text.general import cluster_name
from auditor.scoring.originals import NOTHING_TELLS

KEEP, DROP, REVIEW = "keep", "drop", "review"
SUFFIXES = (".csv", ".parquet", ".m3u", ".m3u8", ".sh")
_SAME = (Verdict.IDENTICAL_FILE, Verdict.SAME_RECORDING)


@dataclass(frozen=True)
class ListedFile:
    """A file of a cluster, and what to do with it.

    Attributes
    ----------
    cluster : str
        Such as ``C1``.
    action : "keep", "drop" or "review"
    why : str
    verdict : str
        Of its pair with the file that is kept; empty where there is none.
    score : float or None
        Of that pair.
    id, path, sha256 : str
    duration_s : float
    codec : str
    bit_rate : int or None
    """

    cluster: str
    action: str
    why: str
    verdict: str
    score: float | None
    id: str
    path: str
    sha256: str
    duration_s: float
    codec: str
    bit_rate: int | None


def keep_or_drop(result: ScanResult) -> list[ListedFile]:
    """Return every file of every cluster, the one to keep first.

    Raises
    ------
    ResultError
        If a cluster names a track that the result does not list.
    """
    tracks = {track.id: track for track in result.tracks}
    pairs = {frozenset((pair.a, pair.b)): pair for pair in result.pairs if pair.flagged}
    first = {track_id: group.tracks[0] for group in result.identical for track_id in group.tracks}
    rows = []
    for number, cluster in enumerate(result.clusters, start=1):
        rows += _cluster_rows(cluster_name(number), cluster, tracks, pairs, first)
    return rows


def _cluster_rows(
    name: str,
    cluster: Cluster,
    tracks: Mapping[str, Track],
    pairs: Mapping[frozenset[str], Pair],
    first: Mapping[str, str],
) -> list[ListedFile]:
    members = [find_track(dict(tracks), track_id) for track_id in cluster.tracks]
    contents = {track.sha256 for track in members}
    known = bool(cluster.original) and cluster.original_why != NOTHING_TELLS
    kept = cluster.original if known else cluster.tracks[0] if len(contents) == 1 else ""
    rows = []
    for track in members:
        pair = _pair_of(track.id, kept, pairs, first)
        if not kept:
            action, why = REVIEW, f"it is not known which one to keep ({NOTHING_TELLS})"
        elif track.id == kept:
            action, why = KEEP, cluster.original_why if known else "all files hold the same bytes"
        elif track.missing:
            action, why = REVIEW, "the file is missing"
        elif track.sha256 == find_track(dict(tracks), kept).sha256:
            action, why = DROP, f"holds the same bytes as {kept}"
        elif pair is not None and pair.verdict in _SAME:
            action, why = DROP, f"the same recording as {kept}"
        else:
            said = pair.verdict if pair is not None else "no pair"
            action, why = REVIEW, f"not the same recording as {kept} as a whole ({said})"
        rows.append(
            ListedFile(
                name,
                action,
                why,
                pair.verdict if pair is not None else "",
                pair.score if pair is not None else None,
                track.id,
                track.path,
                track.sha256,
                track.duration_s,
                track.codec,
                track.bit_rate,
            )
        )
    return sorted(rows, key=lambda row: ((KEEP, DROP, REVIEW).index(row.action), row.path, row.id))


def _pair_of(
    track_id: str,
    kept: str,
    pairs: Mapping[frozenset[str], Pair],
    first: Mapping[str, str],
) -> Pair | None:
    """Return the pair of a track with the one to keep; files of the same bytes share theirs."""
    ends = (first.get(track_id, track_id), first.get(kept, kept))
    return pairs.get(frozenset((track_id, kept))) or pairs.get(frozenset(ends))


def write_format(suffix: str) -> str:
    """Return the suffix of a list in small letters.

    Raises
    ------
    UsageError
        If no list is written in that format, or pyarrow is not installed.
    """
    suffix = suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(
            f"--keep-drop writes {', '.join(SUFFIXES)}, not {show_text(suffix) or 'no suffix'!r}. "
            "Give a file name that ends in one of them."
        )
    if suffix == ".parquet":
        import_pyarrow("--keep-drop FILE.parquet")
    return suffix


def list_bytes(
    rows: Sequence[ListedFile], suffix: str, paths: Mapping[str, bytes]
) -> tuple[bytes, list[str]]:
    """Return a list of files to keep and to drop.

    Parameters
    ----------
    rows : sequence of ListedFile
    suffix : str
        One of ``SUFFIXES``.
    paths : mapping of str to bytes
        Where the file of each id lies.

    Returns
    -------
    content : bytes
    left_out : list of str
        Paths to drop, as shown, that the list cannot hold: they have a line break in them, or lie
        in an object store.
    """
    names = [field.name for field in dataclasses.fields(ListedFile)]
    if suffix == ".csv":
        text = table_csv(names, [dataclasses.astuple(row) for row in rows])
        return text.encode("utf-8", "backslashreplace"), []
    if suffix == ".parquet":
        pa, pq = import_pyarrow("--keep-drop FILE.parquet")
        kinds = {"score": pa.float64(), "duration_s": pa.float64(), "bit_rate": pa.int64()}
        arrays = [
            pa.array(
                [plain_value(getattr(row, name)) for row in rows], kinds.get(name, pa.string())
            )
            for name in names
        ]
        file = io.BytesIO()
        pq.write_table(pa.Table.from_arrays(arrays, names=names), file)
        return file.getvalue(), []
    dropped = [(row, paths.get(row.id, b"")) for row in rows if row.action == DROP]
    fit = [(row, path) for row, path in dropped if _fits_line(path)]
    left_out = [row.path for row, path in dropped if not _fits_line(path)]
    if suffix == ".sh":
        return _script(fit, left_out), left_out
    lines = [b"#EXTM3U"]
    for row, path in fit:
        lines += [f"#EXTINF:{round(row.duration_s)},{show_text(row.why)}".encode(), path]
    return b"\n".join(lines) + b"\n", left_out


def _fits_line(path: bytes) -> bool:
    """Say whether a path leads straight to a file on this disk and has no control character."""
    plain = not any(byte < 0x20 or byte == 0x7F for byte in path)
    return plain and path.startswith(b"/") and b".." not in path.split(b"/")


def quote_path(path: bytes) -> bytes:
    """Return a path as one word of a POSIX shell, whatever bytes it has.

    Examples
    --------
    >>> print(quote_path(b"/music/$(rm -rf x)/one.mp3").decode())
    '/music/$(rm -rf x)/one.mp3'
    """
    return b"'" + path.replace(b"'", b"'\\''") + b"'"


_HEAD = b"""#!/bin/sh
# Moves the files of a list that audit made into another folder. Nothing is deleted, and nothing is
# overwritten. Read it before you run it:  sh THIS_FILE FOLDER
set -eu
if [ "$#" -ne 1 ]; then
  echo "usage: sh $0 FOLDER" >&2
  exit 2
fi
mkdir -p -- "$1"
target=$(cd -- "$1" && pwd)
move() {
  if [ ! -f "$1" ] || [ -L "$1" ]; then
    echo "not there any more: $1" >&2
  elif [ -e "$target$1" ]; then
    echo "already moved, left where it is: $1" >&2
  else
    mkdir -p -- "$target${1%/*}"
    mv -n -- "$1" "$target$1"
  fi
}
"""


def _script(rows: Sequence[tuple[ListedFile, bytes]], left_out: Sequence[str]) -> bytes:
    lines = [_HEAD]
    lines += [
        f"# left out, its name is not one line: {_comment(path)}\n".encode() for path in left_out
    ]
    for row, path in rows:
        lines.append(f"# {_comment(f'{row.cluster}: {row.why}')}\n".encode())
        lines.append(b"move " + quote_path(path) + b"\n")
    return b"".join(lines)


def _comment(text: str) -> str:
    return show_text(text).replace("\n", " ").encode("ascii", "backslashreplace").decode()
