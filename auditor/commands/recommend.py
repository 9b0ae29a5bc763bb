"""``audit recommend``: what sounds most like this, or least."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from auditor.commands.options import (
    DebugOption,
    ExtractorOption,
    Format,
    FormatOption,
    OpenOption,
    Precision,
    PrecisionOption,
    QuietOption,
    WorkspaceOption,
)
from auditor.commands.running import command_line, finish, open_for_command, report_path
from auditor.embedding.config import DEFAULT_EXTRACTOR
from auditor.errors import show_path

if TYPE_CHECKING:
    from auditor.records import RecommendResult
    from auditor.report.media.model import Media
    from auditor.workspace import Workspace

EXAMPLES = """\b
Examples:
  audit recommend mjq2hx5a
  audit recommend music/one.mp3 --top 5
  audit recommend --like mjq2hx5a --like b3wz7kqd --dislike x4d2p6ta
  audit recommend mjq2hx5a --farthest --format json
  audit recommend --versions mjq2hx5a
  audit recommend mjq2hx5a --open
"""


def recommend(
    context: typer.Context,
    of: Annotated[
        str,
        typer.Argument(
            metavar="ID|FILE",
            help="Track to start from: a catalogue id or a file.",
            show_default=False,
        ),
    ] = "",
    like: Annotated[
        list[str] | None,
        typer.Option("--like", metavar="ID", help="A track you like; repeatable."),
    ] = None,
    dislike: Annotated[
        list[str] | None,
        typer.Option("--dislike", metavar="ID", help="A track you dislike; repeatable."),
    ] = None,
    farthest: Annotated[
        bool,
        typer.Option(
            "--farthest", help="List the least similar tracks instead of the most similar."
        ),
    ] = False,
    versions: Annotated[
        bool,
        typer.Option(
            "--versions",
            help="List tracks that may be the same composition, instead of those that sound alike.",
        ),
    ] = False,
    top: Annotated[int, typer.Option("--top", min=1, help="Number of tracks.")] = 10,
    copies: Annotated[
        bool, typer.Option("--copies", help="Include tracks flagged as copies of the given ones.")
    ] = False,
    workspace: WorkspaceOption = None,
    extractor: ExtractorOption = DEFAULT_EXTRACTOR,
    precision: PrecisionOption = Precision.FLOAT32,
    form: FormatOption = Format.TABLE,
    html: Annotated[
        bool,
        typer.Option(
            "--html", help="Also write an HTML page with players, a new file in reports/."
        ),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="DIR|FILE.html", help="Also write the page, to this place."
        ),
    ] = None,
    open_report: OpenOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Recommend tracks of the catalogue that sound alike.

    Starts from one track, or from a profile of liked and disliked tracks. The track itself is never
    recommended; its copies only with --copies.
    """
    if "://" in of or os.path.isfile(of):
        from auditor.audio.isolated import warm_up

        warm_up()  # it starts while torch is imported
    from auditor.api import recommend as api

    html = html or open_report
    query = api.Query(
        of=of,
        like=tuple(like or ()),
        dislike=tuple(dislike or ()),
        farthest=farthest,
        top=top,
        copies=copies,
        versions=versions,
    )
    with open_for_command(
        workspace, extractor=extractor, precision=precision, write=False
    ) as opened:
        result = api.recommend(opened, query, command=command_line(context))
        report = report_path(output, result.kind) if html or output is not None else None
        media = None if report is None else _links(opened, result, report.parent, of)
    finish(result, form=form, report=report, media=media, open_report=open_report, quiet=quiet)


def _links(workspace: Workspace, result: RecommendResult, folder: Path, of: str) -> Media:
    """Return links from the page to what is recommended and to what was asked for."""
    from auditor.report.links import relative_link
    from auditor.report.media.model import Media, TrackMedia

    paths = {entry[0]: path for path, entry in workspace.catalogue.stamps().items()}
    wanted = [track_id for ids in result.query.values() for track_id in ids]
    wanted += [answer.track.id for answer in result.recommendations]
    links = {track_id: paths.get(track_id) for track_id in dict.fromkeys(wanted)}
    if os.path.isfile(of):
        links[show_path(of)] = os.fsencode(of)
    return Media(
        tuple(
            TrackMedia(track_id, link=relative_link(path, folder))
            for track_id, path in links.items()
            if path is not None
        )
    )
