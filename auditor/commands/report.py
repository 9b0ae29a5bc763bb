"""``audit report``: the HTML of a result again, from its JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from auditor.commands.options import DebugOption, OpenOption, QuietOption, RedactOption

if TYPE_CHECKING:
    from auditor.report.media.model import Media

EXAMPLES = """\b
Examples:
  audit report reports/scan-20260131-120000.json
  audit report check.json -o for-the-lawyer.html --redact-paths
"""


def report(
    result: Annotated[
        Path,
        typer.Argument(
            metavar="RESULT.json",
            help="The JSON file written by scan, check or recommend.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE.html",
            help="Where to write the report; by default beside the JSON.",
        ),
    ] = None,
    open_report: OpenOption = False,
    redact_paths: RedactOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Render a report again from its JSON, byte for byte the same for one version.

    Waveforms, clips and matrices come from RESULT.media.json beside it, if that file exists. A CSV
    of the result is written beside the report. With --redact-paths, page, CSV and a JSON
    beside them name no folder; RESULT.json stays as it is.
    """
    import sys

    from auditor.errors import UsageError, show_path
    from auditor.report.html.page import render_html
    from auditor.report.results_csv import to_csv
    from auditor.report.write import load_report, write_files, write_report

    html = result.with_suffix(".html") if output is None else output
    if html.suffix.lower() not in (".html", ".htm"):
        raise UsageError(
            f"{show_path(html)} is not an HTML file name. Give one that ends in .html."
        )
    found, media = load_report(result)
    if media is not None and html.absolute().parent != result.absolute().parent:
        media = rebase_links(media, result.absolute().parent, html.absolute().parent)
    if redact_paths:
        from auditor.report.redact import redact_media, redact_result

        if html.absolute() == result.with_suffix(".html").absolute():
            raise UsageError(
                f"{show_path(html)} lies beside the JSON, which names the folders. Give another "
                "place for the redacted report with --output FILE.html."
            )
        write_report(redact_result(found), html, redact_media(media))
    else:
        table = html.with_suffix(".csv")
        write_files({html: render_html(found, media).encode(), table: to_csv(found).encode()})
    if not quiet:
        print(f"report: {show_path(html)}", file=sys.stderr)
    if open_report:
        import webbrowser

        webbrowser.open(html.absolute().as_uri())


def rebase_links(media: Media, old: Path, new: Path) -> Media:
    """Return media whose links lead from the folder ``new``, as they led from ``old``."""
    import dataclasses
    import os
    from urllib.parse import unquote_to_bytes

    from auditor.report.links import relative_link

    def rebase(link: str) -> str:
        path = os.path.join(os.fsencode(old), unquote_to_bytes(link))
        return relative_link(path, new) if link else ""

    return dataclasses.replace(
        media,
        tracks=tuple(dataclasses.replace(track, link=rebase(track.link)) for track in media.tracks),
    )
