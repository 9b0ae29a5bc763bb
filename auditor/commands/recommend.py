"""``audit recommend``: what sounds most like this, or least."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from auditor.commands.options import (
    DebugOption,
    ExtractorOption,
    Format,
    FormatOption,
    QuietOption,
    WorkspaceOption,
    command_line,
    finish,
    open_for_command,
)
from auditor.config import DEFAULT_EXTRACTOR

EXAMPLES = """\b
Examples:
  audit recommend mjq2hx5a
  audit recommend music/one.mp3 --top 5
  audit recommend --like mjq2hx5a --like b3wz7kqd --dislike x4d2p6ta
  audit recommend mjq2hx5a --farthest --format json
"""


def recommend(
    context: typer.Context,
    of: Annotated[
        str,
        typer.Argument(
            metavar="ID|FILE",
            help="Track to start from: an id of the catalogue, or a file.",
            show_default=False,
        ),
    ] = "",
    like: Annotated[
        list[str] | None,
        typer.Option("--like", metavar="ID", help="A favourite; repeat it for more."),
    ] = None,
    dislike: Annotated[
        list[str] | None,
        typer.Option("--dislike", metavar="ID", help="The opposite; repeat it for more."),
    ] = None,
    farthest: Annotated[
        bool, typer.Option("--farthest", help="The least alike tracks instead of the most.")
    ] = False,
    top: Annotated[int, typer.Option("--top", min=1, help="How many tracks.")] = 10,
    copies: Annotated[
        bool, typer.Option("--copies", help="Also tracks flagged as copies of the ones given.")
    ] = False,
    workspace: WorkspaceOption = None,
    extractor: ExtractorOption = DEFAULT_EXTRACTOR,
    form: FormatOption = Format.TABLE,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR|FILE.html", help="Also write a report, there."),
    ] = None,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Recommend tracks of the catalogue that sound alike.

    Starts from one track, or from a profile of liked and disliked ones. A track never recommends
    itself, nor its copies unless --copies is given.
    """
    from auditor import recommend as api

    query = api.Query(
        of=of,
        like=tuple(like or ()),
        dislike=tuple(dislike or ()),
        farthest=farthest,
        top=top,
        copies=copies,
    )
    with open_for_command(workspace, extractor=extractor, write=False) as opened:
        result = api.recommend(opened, query, command=command_line(context))
    finish(result, form=form, output=output, no_report=output is None, quiet=quiet)
