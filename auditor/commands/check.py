"""``audit check``: submissions against the catalogue."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from auditor.commands.options import (
    MAX_CHANCE_SHARE,
    MAX_REPORT_MB,
    BatchOption,
    CatalogueSizeOption,
    CompositionsOption,
    DebugOption,
    Device,
    DeviceOption,
    ExitZeroOption,
    ExtractorOption,
    FailOn,
    FailOnOption,
    FarOption,
    Format,
    FormatOption,
    JobsOption,
    MaxChanceShareOption,
    MaxFalseAlarmsOption,
    NoAudioOption,
    NoReportOption,
    OpenOption,
    OutputOption,
    PerBatchOption,
    Precision,
    PrecisionOption,
    QuietOption,
    RedactOption,
    ReportSizeOption,
    SameOwnerOption,
    Search,
    SearchOption,
    ServerKeyOption,
    ServerOption,
    ShowDecidedOption,
    ThresholdFileOption,
    ThresholdOption,
    VerboseOption,
    WaitOption,
    WideOption,
    WorkspaceOption,
)
from auditor.commands.running import (
    check_fail_on,
    check_format,
    check_report_options,
    command_line,
    embedder_for,
    exit_code,
    finish,
    gather_media,
    keep_for_decisions,
    make_options,
    n_jobs,
    open_for_command,
    report_path,
)
from auditor.embedding.config import DEFAULT_EXTRACTOR, GPU_BATCH
from auditor.errors import UsageError

if TYPE_CHECKING:
    from auditor.ingest.submissions import Submission

EXAMPLES = """\b
Examples:
  audit check new.mp3
  audit check submissions/ --max-false-alarms 0.001 --format json
  audit check submissions/ --format jsonl > results.jsonl
  audit check new.mp3 --wide
  audit check new.mp3 --add
  audit check new.mp3 --server https://audit.example.com

Exit code: 0 nothing flagged, 1 something flagged, 2 error.
"""


def check(
    context: typer.Context,
    paths: Annotated[
        list[str],  # a Path would take a slash of s3:// away
        typer.Argument(
            metavar="FILE|DIR|URL",
            help="Submissions: files, folders, or URLs such as s3://BUCKET/NAME.",
            show_default=False,
        ),
    ],
    add: Annotated[
        bool, typer.Option("--add", help="Add the submissions to the catalogue afterwards.")
    ] = False,
    workspace: WorkspaceOption = None,
    extractor: ExtractorOption = DEFAULT_EXTRACTOR,
    precision: PrecisionOption = Precision.FLOAT32,
    jobs: JobsOption = None,
    device: DeviceOption = Device.AUTO,
    batch: BatchOption = GPU_BATCH,
    threshold: ThresholdOption = None,
    far: FarOption = None,
    max_false_alarms: MaxFalseAlarmsOption = None,
    per_batch: PerBatchOption = False,
    catalogue_size: CatalogueSizeOption = None,
    wide: WideOption = False,
    threshold_file: ThresholdFileOption = None,
    search: SearchOption = Search.EXACT,
    same_owner: SameOwnerOption = None,
    compositions: CompositionsOption = None,
    max_chance_share: MaxChanceShareOption = MAX_CHANCE_SHARE,
    show_decided: ShowDecidedOption = False,
    form: FormatOption = Format.TABLE,
    output: OutputOption = None,
    no_report: NoReportOption = False,
    no_audio: NoAudioOption = False,
    max_report_size: ReportSizeOption = MAX_REPORT_MB,
    open_report: OpenOption = False,
    redact_paths: RedactOption = False,
    fail_on: FailOnOption = None,
    exit_zero: ExitZeroOption = False,
    wait: WaitOption = False,
    server: ServerOption = None,
    server_key: ServerKeyOption = "",
    verbose: VerboseOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Compare submissions with the catalogue.

    Lists the catalogue tracks that each file matches. The catalogue does not change unless you give
    --add.
    """
    streams = form is Format.JSONL
    if streams and redact_paths:
        raise UsageError(
            "--redact-paths numbers the folders of a whole result, which --format jsonl does not "
            "wait for. Give --format json."
        )
    if streams and (open_report or output is not None or add or per_batch):
        raise UsageError(
            "--format jsonl prints each submission as soon as it is compared: it writes no report, "
            "and cannot be combined with --output, --open, --add and --per-batch."
        )
    check_report_options(no_report=no_report, output=output, open_report=open_report)
    check_format(form, streams=streams)
    check_fail_on(fail_on, compositions=compositions)
    if server is not None:
        from auditor.commands.check_server import check_server_options, check_with_server

        check_server_options(context)
        shown = check_with_server(
            server,
            server_key,
            paths,
            add=add,
            wide=wide,
            jobs=jobs,
            streams=streams,
            report=None if no_report or streams else report_path(output, "check"),
            audio=not no_audio,
            quiet=quiet,
        )
        if not streams:
            finish(
                shown.result,
                form=form,
                report=shown.report,
                media=shown.media,
                open_report=open_report,
                redact_paths=redact_paths,
                show_decided=show_decided,
                verbose=verbose,
                quiet=quiet,
            )
        if FailOn.COMPOSITION in (fail_on or ()) and shown.result.compositions is None:
            raise UsageError(
                "--fail-on composition: the service does not compare compositions (audit serve "
                "--compositions)."
            )
        if code := exit_code(shown.result, fail_on, exit_zero=exit_zero):
            raise typer.Exit(code)
        return
    from auditor.audio.files import require_present

    require_present(paths)  # a wrong name is told at once
    from auditor.audio.isolated import warm_up

    warm_up()  # it starts while the rest is imported
    options = make_options(
        threshold=threshold,
        far=far,
        threshold_file=threshold_file,
        search=search,
        same_owner=same_owner,
        max_false=max_false_alarms,
        per_batch=per_batch,
        catalogue_size=catalogue_size,
        wide=wide,
        compositions=compositions,
        max_chance_share=max_chance_share,
    )
    from auditor.api import check as api
    from auditor.commands.progress import Progress

    report = None if no_report or streams else report_path(output, "check")
    with (
        open_for_command(
            workspace, extractor=extractor, precision=precision, write=add, wait=wait
        ) as opened,
        Progress(quiet=quiet) as progress,
    ):
        if streams:
            from auditor.commands.check_stream import stream

            embedder = embedder_for(opened, jobs=jobs, device=device, batch=batch)
            found = stream(
                paths,
                lambda part, on_event: api.check(
                    opened,
                    part,
                    options=options,
                    embedder=embedder,
                    on_event=on_event,
                    command=command_line(context),
                ),
                n_at_once=n_jobs(jobs),
                on_event=progress,
            )
            if found is None:
                raise UsageError(
                    "nothing was checked: no file could be used. Give audio that can be decoded."
                )
            keep_for_decisions(opened.directory, found)
            if code := exit_code(found, fail_on, exit_zero=exit_zero):
                raise typer.Exit(code)
            return
        submissions: list[Submission] = []
        result = api.check(
            opened,
            paths,
            options=options,
            add=add,
            embedder=embedder_for(opened, jobs=jobs, device=device, batch=batch),
            on_event=progress,
            on_submission=submissions.append,
            command=command_line(context),
        )
        if result.submissions:
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
    if not result.submissions:
        raise UsageError(
            f"nothing was checked: none of the {len(result.skipped)} files could be used. "
            "Give audio that can be decoded."
        )
    finish(
        result,
        form=form,
        report=report,
        media=media,
        open_report=open_report,
        redact_paths=redact_paths,
        show_decided=show_decided,
        verbose=verbose,
        quiet=quiet,
    )
    listed = result.compositions.matches if result.compositions is not None else ()
    flagged = [pair.pair_id for pair in result.pairs if pair.flagged]
    flagged += [match.pair_id for match in listed if match.flagged]
    if flagged and form is Format.TABLE and not quiet:
        named = "" if workspace is None else f" --workspace {shlex.quote(str(workspace))}"
        print(f"decide a pair: audit decide {flagged[0]} --as KIND{named}", file=sys.stderr)
    if code := exit_code(result, fail_on, exit_zero=exit_zero):
        raise typer.Exit(code)
