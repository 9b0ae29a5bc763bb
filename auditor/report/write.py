"""Write a report to disk, whole or not at all, and read its JSON again.

A report is four files of one name: the page, the result as JSON and as CSV, and the media.  The
list of compositions is a CSV of its own.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from auditor.errors import AuditError, ResultError, show_path
from auditor.records import RecommendResult, Result, TracklistResult, result_bytes, result_from_json
from auditor.report.html.page import render_html
from auditor.report.media.model import Media, media_from_json, media_to_json
from auditor.report.results_csv import compositions_csv, identifiers_csv, to_csv
from auditor.report.text.timeline import to_cue
from auditor.serialisation import partial_file, put_in_place

MAX_BYTES = 1 << 30
"""Size of a result or its media at most."""

_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_SUFFIXES = (".html", ".htm", ".json")
T = TypeVar("T")


def write_report(
    result: Result, path: str | os.PathLike[str], media: Media | None = None
) -> tuple[Path, Path]:
    """Write a result as HTML, JSON and CSV, side by side, and its media as a second JSON.

    A tracklist is written as a CUE sheet, too.

    All are written to temporary files in the same folder first and then renamed, so that a reader
    never finds half a report, and a report that was there before stays when writing fails.

    Parameters
    ----------
    result : ScanResult, CheckResult or RecommendResult
        What to write.
    path : path-like
        The HTML file; the others have the same name with the suffixes ``.json``, ``.csv``,
        ``-compositions.csv``, ``-identifiers.csv`` and ``.media.json``.  A path without any of
        these suffixes gets them.  Missing folders are made.
    media : Media, optional
        What is heard and seen of the pairs; media, compositions and identifiers of an older report
        of that name are removed.

    Returns
    -------
    tuple of Path
        The HTML file and the JSON file.

    Raises
    ------
    AuditError
        If the files cannot be written: the disk is full, the folder is not writable.
    ResultError
        If the result is not consistent.
    """
    path = Path(path)
    stem = path.with_suffix("") if path.suffix.lower() in _SUFFIXES else path
    html_suffix = path.suffix if path.suffix.lower() in (".html", ".htm") else ".html"
    html_path = stem.with_name(stem.name + html_suffix)
    json_path = stem.with_name(stem.name + ".json")
    contents = {stem.with_name(stem.name + ".csv"): to_csv(result).encode()}
    contents[json_path] = result_bytes(result)
    if isinstance(result, TracklistResult):
        contents[stem.with_name(stem.name + ".cue")] = to_cue(result).encode(
            "utf-8", "backslashreplace"
        )
    if media is not None and media != Media():
        text = media_to_json(media) + "\n"
        contents[media_path(json_path)] = text.encode("utf-8", "backslashreplace")
    if not isinstance(result, RecommendResult) and result.compositions is not None:
        contents[compositions_path(json_path)] = compositions_csv(result).encode()
    if not isinstance(result, RecommendResult) and result.identifiers is not None:
        found = result.identifiers
        if found.shared or found.differing:
            contents[identifiers_path(json_path)] = identifiers_csv(result).encode()
    contents[html_path] = render_html(result, media).encode("utf-8")
    write_files(contents)
    for path_of in (media_path, compositions_path, identifiers_path):
        optional = path_of(json_path)
        if optional not in contents:
            optional.unlink(missing_ok=True)
    return html_path, json_path


def media_path(json_path: str | os.PathLike[str]) -> Path:
    """Return where the media of a result lie, beside its JSON.

    Examples
    --------
    >>> str(media_path("reports/scan.json"))
    'reports/scan.media.json'
    """
    return Path(json_path).with_suffix(".media.json")


def compositions_path(json_path: str | os.PathLike[str]) -> Path:
    """Return where the CSV of the compositions lies, beside the JSON of a result.

    Examples
    --------
    >>> str(compositions_path("reports/scan.json"))
    'reports/scan-compositions.csv'
    """
    path = Path(json_path)
    return path.with_name(f"{path.stem}-compositions.csv")


def identifiers_path(json_path: str | os.PathLike[str]) -> Path:
    """Return where the CSV of identifiers that disagree lies, beside the JSON of a result.

    Examples
    --------
    >>> str(identifiers_path("reports/check.json"))
    'reports/check-identifiers.csv'
    """
    path = Path(json_path)
    return path.with_name(f"{path.stem}-identifiers.csv")


def load_report(path: str | os.PathLike[str]) -> tuple[Result, Media | None]:
    """Read a result, and the media beside it; None where there are none.

    Raises
    ------
    ResultError
        If either cannot be read, or is something else.
    """
    result = _read(Path(path), result_from_json)
    media = media_path(path)
    return result, _read(media, media_from_json) if media.exists() else None


def _read(path: Path, from_json: Callable[[str], T]) -> T:
    shown = show_path(path)
    try:
        if not path.is_file():
            raise ResultError(f"{shown} is not a file. Give the JSON beside a report.")
        if path.stat().st_size > MAX_BYTES:
            raise ResultError(
                f"{shown} is larger than 1 GiB, the limit for a result file. Give another file."
            )
        return from_json(path.read_text("utf-8"))
    except OSError as error:
        raise ResultError(f"{shown} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise ResultError(f"{shown} is not UTF-8. Give the JSON beside a report.") from None
    except ResultError as error:
        raise ResultError(str(error) if shown in str(error) else f"{shown}: {error}") from None


def write_files(contents: dict[Path, bytes]) -> None:
    """Write files, all of them or none, each in one step.

    Raises
    ------
    AuditError
        If one cannot be written.
    """
    target = next(iter(contents))
    try:
        with contextlib.ExitStack() as stack:
            written: dict[Path, Path] = {}
            for target, content in contents.items():
                target.parent.mkdir(parents=True, exist_ok=True)
                written[target] = stack.enter_context(partial_file(target.parent))
                written[target].write_bytes(content)
            for target, partial in written.items():
                put_in_place(partial, target)
    except OSError as error:
        reason, remedy = error.strerror or str(error), "Choose another place with --output."
        if error.errno in _READ_ONLY:
            reason = f"the folder {show_path(target.parent)} is read-only ({reason})"
            remedy = "Make it writable, or choose another place with --output."
        elif error.errno in _FULL:
            remedy = "Free some space, or choose another place with --output."
        raise AuditError(
            f"{show_path(target)}: the report could not be written: {reason}. {remedy}"
        ) from error
