"""``audit map``: the catalogue as a map to look at and listen to."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from auditor.commands.options import (
    DebugOption,
    ExtractorOption,
    Precision,
    PrecisionOption,
    QuietOption,
    RedactOption,
    WorkspaceOption,
)
from auditor.commands.running import command_line, open_for_command, report_path
from auditor.embedding.config import DEFAULT_EXTRACTOR
from auditor.errors import UsageError, show_path, show_text

EXAMPLES = """\b
Examples:
  audit map --open
  audit map --colour licence -o map.html
  audit map --workspace fma --seed 7
"""

MAX_SEED = 2**32 - 1
SAY_AFTER_S = 3.0
"""Seconds above which the time it takes is said beforehand."""


class Colour(StrEnum):
    """What the tracks are coloured by at first; the same as ``report.map.COLOURS``."""

    GENRE = "genre"
    ARTIST = "artist"
    ALBUM = "album"
    CLUSTER = "cluster"
    LICENCE = "licence"


def map_tracks(
    context: typer.Context,
    workspace: WorkspaceOption = None,
    extractor: ExtractorOption = DEFAULT_EXTRACTOR,
    precision: PrecisionOption = Precision.FLOAT32,
    colour: Annotated[
        Colour | None,
        typer.Option(
            "--colour",
            help="Initial colouring, which the page can change. By default the first of these "
            "that differs between tracks.",
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            "--seed", min=0, max=MAX_SEED, help="Random seed; each seed gives a different map."
        ),
    ] = 0,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR|FILE.html",
            help="Where to write the page; by default a new file in reports/.",
        ),
    ] = None,
    open_page: Annotated[
        bool, typer.Option("--open", help="Open the page in the browser.")
    ] = False,
    redact_paths: RedactOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Draw a map of the catalogue: tracks that sound alike lie close together.

    Writes one page that you can pan, zoom, search and listen to, coloured by genre, artist, album,
    cluster or licence. Lines join the flagged pairs of the last scan. Positions come from t-SNE.
    """
    if output is not None and output.suffix.lower() == ".json":
        raise UsageError(
            f"{show_path(output)}: a map is an HTML page. Give --output FILE.html, or a folder."
        )
    from auditor.api.map import make_atlas
    from auditor.commands.progress import Progress, show_seconds
    from auditor.report.html.map import write_map

    def say(n_tracks: int, seconds: float) -> None:
        if seconds > SAY_AFTER_S and not quiet:
            print(
                f"placing {n_tracks:,} tracks takes about {show_seconds(seconds)} on one core",
                file=sys.stderr,
                flush=True,
            )

    with (
        open_for_command(
            workspace, extractor=extractor, precision=precision, write=False
        ) as opened,
        Progress(quiet=quiet, noun="tracks read for their sound") as summarising,
    ):
        atlas = make_atlas(
            opened,
            seed=seed,
            command=command_line(context),
            on_start=say,
            on_track=summarising.advance,
        )
    if redact_paths:
        from auditor.report.redact import redact_atlas

        atlas = redact_atlas(atlas)
    path, n_bytes = write_map(
        atlas, report_path(output, "map"), colour=None if colour is None else colour.value
    )
    print(
        f"map of {len(atlas.tracks):,} tracks, {len(atlas.pairs):,} flagged pairs: "
        f"{show_path(path)} ({n_bytes / 1e6:.1f} MB)"
    )
    for note in atlas.notes:
        print(f"note: {show_text(note)}", file=sys.stderr)
    if open_page:
        import webbrowser

        webbrowser.open(path.absolute().as_uri())
