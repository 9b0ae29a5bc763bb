"""``audit recommend``: what sounds most like this, or least."""

from __future__ import annotations

import os
import sys
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
    RedactOption,
    WorkspaceOption,
)
from auditor.commands.running import (
    check_format,
    command_line,
    finish,
    open_for_command,
    report_path,
)
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
  audit recommend --like one.mp3 --like two.mp3 --save mellow --m3u mellow.m3u8
  audit recommend --profile mellow --top 30
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
        typer.Option(
            "--like", metavar="ID|FILE", help="A track or file that you like; repeatable."
        ),
    ] = None,
    dislike: Annotated[
        list[str] | None,
        typer.Option(
            "--dislike", metavar="ID|FILE", help="A track or file that you dislike; repeatable."
        ),
    ] = None,
    profile: Annotated[
        str,
        typer.Option("--profile", metavar="NAME", help="Start from a profile saved with --save."),
    ] = "",
    save: Annotated[
        str,
        typer.Option(
            "--save",
            metavar="NAME",
            help="Save the given tracks in the workspace as a profile, for --profile NAME.",
        ),
    ] = "",
    m3u: Annotated[
        Path | None,
        typer.Option(
            "--m3u", metavar="FILE.m3u8", help="Also write the recommended tracks as a playlist."
        ),
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
    redact_paths: RedactOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Recommend tracks of the catalogue that sound alike.

    Starts from one track, or from a profile of liked and disliked tracks. The track itself is never
    recommended; its copies only with --copies.
    """
    check_format(form)
    if any("://" in word or os.path.isfile(word) for word in (of, *(like or ()), *(dislike or ()))):
        from auditor.audio.isolated import warm_up

        warm_up()  # it starts while the rest is imported
    from auditor.api import recommend as api

    html = html or open_report
    with open_for_command(
        workspace, extractor=extractor, precision=precision, write=False
    ) as opened:
        from auditor.api.profiles import load_profile, save_profile
        from auditor.commands.progress import Progress

        likes, dislikes = tuple(like or ()), tuple(dislike or ())
        if profile:
            kept = load_profile(opened, profile)
            likes, dislikes = (*kept[0], *likes), (*kept[1], *dislikes)
        query = api.Query(
            of=of,
            like=likes,
            dislike=dislikes,
            farthest=farthest,
            top=top,
            copies=copies,
            versions=versions,
        )
        with Progress(quiet=quiet, noun="tracks read for their sound") as summarising:
            result = api.recommend(
                opened, query, command=command_line(context), on_track=summarising.advance
            )
        if save:
            given = (*likes, of) if of else likes
            saved = save_profile(opened, save, like=given, dislike=dislikes)
            if not quiet:
                print(f"profile: {show_path(saved)}", file=sys.stderr)
        if m3u is not None:
            write_playlist(result, opened, m3u)
        report = report_path(output, result.kind) if html or output is not None else None
        media = (
            None
            if report is None
            else _links(opened, result, report.parent, (of, *likes, *dislikes))
        )
    finish(
        result,
        form=form,
        report=report,
        media=media,
        open_report=open_report,
        redact_paths=redact_paths,
        quiet=quiet,
    )


def write_playlist(result: RecommendResult, workspace: Workspace, file: Path) -> None:
    """Write the recommended tracks as an extended M3U playlist in UTF-8, by absolute paths.

    A path that no line of a playlist can hold is left out, and named on stderr.

    Raises
    ------
    AuditError
        If the file cannot be written.
    """
    from auditor.errors import show_text
    from auditor.report.write import write_files

    paths = workspace.catalogue.paths()
    lines = [b"#EXTM3U"]
    for answer in result.recommendations:
        track, path = answer.track, paths.get(answer.track.id, b"")
        if not path or b"\n" in path or b"\r" in path or path.startswith(b"#"):
            print(f"not in the playlist: {show_path(track.path)}", file=sys.stderr)
            continue
        lines += [f"#EXTINF:{round(track.duration_s)},{show_text(track.label)}".encode(), path]
    write_files({file: b"\n".join(lines) + b"\n"})


def _links(
    workspace: Workspace, result: RecommendResult, folder: Path, given: tuple[str, ...]
) -> Media:
    """Return links from the page to what is recommended and to what was asked for."""
    from auditor.report.links import relative_link
    from auditor.report.media.model import Media, TrackMedia

    paths = workspace.catalogue.paths()
    wanted = [track_id for ids in result.query.values() for track_id in ids]
    wanted += [answer.track.id for answer in result.recommendations]
    links = {track_id: paths.get(track_id) for track_id in dict.fromkeys(wanted)}
    links |= {show_path(word): os.fsencode(word) for word in given if os.path.isfile(word)}
    return Media(
        tuple(
            TrackMedia(track_id, link=relative_link(path, folder))
            for track_id, path in links.items()
            if path is not None
        )
    )
