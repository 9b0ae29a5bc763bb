"""``audit tracklist``: which tracks of the catalogue play in a mix, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from auditor.commands.options import (
    MAX_REPORT_MB,
    BatchOption,
    DebugOption,
    Device,
    DeviceOption,
    ExtractorOption,
    FarOption,
    Format,
    FormatOption,
    NoAudioOption,
    NoReportOption,
    OpenOption,
    OutputOption,
    Precision,
    PrecisionOption,
    QuietOption,
    RedactOption,
    ReportSizeOption,
    Search,
    ThresholdFileOption,
    ThresholdOption,
    VerboseOption,
    WorkspaceOption,
)
from auditor.commands.running import (
    check_format,
    check_report_options,
    command_line,
    embedder_for,
    finish,
    gather_media,
    keep_for_decisions,
    make_options,
    open_for_command,
    report_path,
)
from auditor.embedding.config import DEFAULT_EXTRACTOR, GPU_BATCH

if TYPE_CHECKING:
    from auditor.ingest.submissions import Submission

EXAMPLES = """\b
Examples:
  audit tracklist mix.mp3
  audit tracklist show.flac --format csv > show.csv
  audit tracklist mix.mp3 -o mix.html

Exit code: 0 the mix was examined, 2 error.
"""


def tracklist(
    context: typer.Context,
    mix: Annotated[
        str,
        typer.Argument(
            metavar="MIX",
            help="One long file: a DJ mix, a radio show, a set.",
            show_default=False,
        ),
    ],
    workspace: WorkspaceOption = None,
    extractor: ExtractorOption = DEFAULT_EXTRACTOR,
    precision: PrecisionOption = Precision.FLOAT32,
    device: DeviceOption = Device.AUTO,
    batch: BatchOption = GPU_BATCH,
    threshold: ThresholdOption = None,
    far: FarOption = None,
    max_false_tracks: Annotated[
        float | None,
        typer.Option(
            "--max-false-tracks",
            metavar="N",
            min=0.0,
            help="Use the threshold at which the whole mix is expected to name N false tracks; 0.1 "
            "by default.",
        ),
    ] = None,
    threshold_file: ThresholdFileOption = None,
    form: FormatOption = Format.TABLE,
    output: OutputOption = None,
    no_report: NoReportOption = False,
    no_audio: NoAudioOption = False,
    max_report_size: ReportSizeOption = MAX_REPORT_MB,
    open_report: OpenOption = False,
    redact_paths: RedactOption = False,
    verbose: VerboseOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Find which tracks of the catalogue play in a mix, and when.

    Writes a timeline: each track with its times in the mix and in the track, tempo and pitch,
    crossfades and gaps; as a report, JSON, CSV and a CUE sheet. The catalogue does not change.
    """
    check_report_options(no_report=no_report, output=output, open_report=open_report)
    check_format(form)
    from auditor.audio.isolated import warm_up

    warm_up()  # it starts while the rest is imported
    options = make_options(
        threshold=threshold,
        far=far,
        threshold_file=threshold_file,
        search=Search.EXACT,
        max_false=max_false_tracks,
    )
    from auditor.api import tracklist as api
    from auditor.commands.progress import Progress

    report = None if no_report else report_path(output, "tracklist")
    with (
        open_for_command(
            workspace, extractor=extractor, precision=precision, write=False
        ) as opened,
        Progress(quiet=quiet) as progress,
        Progress(quiet=quiet, noun="parts") as examining,
    ):
        submissions: list[Submission] = []
        result = api.tracklist(
            opened,
            mix,
            options=options,
            embedder=embedder_for(opened, jobs=1, device=device, batch=batch),
            on_event=progress,
            on_part=examining.advance,
            on_submission=submissions.append,
            command=command_line(context),
        )
        keep_for_decisions(opened.directory, result)
        media = gather_media(
            opened,
            result,
            report,
            submissions=submissions,
            max_report_mb=max_report_size,
            audio=not no_audio,
            quiet=quiet,
        )
    finish(
        result,
        form=form,
        report=report,
        media=media,
        open_report=open_report,
        redact_paths=redact_paths,
        verbose=verbose,
        quiet=quiet,
    )
