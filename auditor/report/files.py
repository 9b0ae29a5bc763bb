"""Write a report to disk: whole, or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from auditor.errors import AuditError, show_path
from auditor.records import Result, to_json
from auditor.report.page import render_html

_SUFFIXES = (".html", ".htm", ".json")


def write_report(result: Result, path: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Write a result as HTML and as JSON, side by side.

    Both are written to temporary files in the same folder first and then renamed, so that a reader
    never finds half a report, and a report that was there before stays when writing fails.

    Parameters
    ----------
    result : ScanResult, CheckResult or RecommendResult
        What to write.
    path : path-like
        The HTML file; the JSON file has the same name with the suffix ``.json``.  A path without
        either suffix gets both.  Missing folders are made.

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
    # A lone surrogate cannot be UTF-8; backslashreplace writes it as the escape JSON has for it.
    contents = {
        json_path: (to_json(result) + "\n").encode("utf-8", "backslashreplace"),
        html_path: render_html(result).encode("utf-8"),
    }
    write_files(contents)
    return html_path, json_path


def write_files(contents: dict[Path, bytes]) -> None:
    """Write files, all of them or none, each in one step.

    Raises
    ------
    AuditError
        If one cannot be written.
    """
    mark = secrets.token_hex(4)
    written: dict[Path, Path] = {}
    target = next(iter(contents))
    try:
        for target, content in contents.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_name(f".{target.name}.{mark}.tmp")
            written[temporary] = target
            with open(temporary, "xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        for temporary, target in written.items():
            os.replace(temporary, target)
    except OSError as error:
        raise AuditError(
            f"{show_path(target)}: the report could not be written: {error.strerror or error}. "
            "Free some space or make the folder writable, or choose another place with --output."
        ) from error
    finally:
        for temporary in written:
            temporary.unlink(missing_ok=True)
