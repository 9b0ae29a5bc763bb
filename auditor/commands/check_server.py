"""``audit check --server``: the files are compared by a service, and all else is as without it."""

from __future__ import annotations

import dataclasses
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from auditor.commands.running import n_jobs
from auditor.errors import AuditError, UsageError, show_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from auditor.audio.files import FoundFile
    from auditor.records import CheckResult, Skipped
    from auditor.report.media.model import Media
    from auditor.serve.client import Client

OF_THE_SERVER = (
    *("workspace", "extractor", "precision", "device", "batch", "threshold", "far", "wait"),
    *(
        "max_false_alarms",
        "per_batch",
        "catalogue_size",
        "threshold_file",
        "search",
        "same_owner",
    ),
    *("compositions", "max_chance_share", "max_report_size"),
)
"""Parameters that say how or with what is compared: whoever runs the service sets these."""

MEDIA_PATIENCE_S = 120.0
_OF_THE_FILE = (413, 422)
"""Statuses that refuse one file, and say nothing of others."""


class ServiceFailedError(AuditError):
    """A service that cannot be reached, or refuses what is asked."""


@dataclass(frozen=True)
class ServerCheck:
    """What a service said of all files: the result, where its report goes, and its media."""

    result: CheckResult
    report: Path | None
    media: Media | None


@dataclass(frozen=True)
class FileAnswer:
    """What a service said of one file: ``result`` or ``skipped`` is set."""

    result: CheckResult | None = None
    skipped: tuple[Skipped, ...] = ()
    media: Media | None = None


def check_server_options(context: typer.Context) -> None:
    """Refuse options that the service sets, where they were typed.

    Raises
    ------
    UsageError
        If there is one.
    """
    for name in OF_THE_SERVER:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            option = f"--{name.replace('_', '-')}"
            raise UsageError(
                f"{option} cannot be combined with --server: the service decides that. Leave it "
                "out."
            )


def check_with_server(
    url: str,
    key: str,
    paths: Sequence[str],
    *,
    add: bool,
    wide: bool,
    jobs: int | None,
    streams: bool,
    report: Path | None,
    audio: bool,
    quiet: bool,
) -> ServerCheck:
    """Send files to a service, and return what it says of all of them.

    Parameters
    ----------
    url, key : str
        Of the service.
    paths : sequence of str
        Files and folders.
    add : bool
        Submissions that pass become tracks of the service's catalogue.
    wide : bool
        Ask that they be heard at other pitches and tempos, too.
    jobs : int, optional
        Files that are sent at once.
    streams : bool
        Print a line of JSON for each file as soon as it has been compared.
    report : pathlib.Path, optional
        Where the report will lie; then clips and pictures are fetched.
    audio : bool
        Fetch them.
    quiet : bool
        Show no progress.

    Raises
    ------
    UsageError
        If there is no audio file, none could be used, or the URL is none.
    ServiceFailedError
        If the service cannot be reached, or refuses more than a file.
    """
    from auditor.audio.object_store import is_object
    from auditor.commands.check_stream import lines_of, print_line, skipped_line
    from auditor.commands.progress import Progress
    from auditor.ingest.submissions import find_submissions
    from auditor.serve.client import Client

    if remote := next((path for path in paths if is_object(path)), None):
        raise UsageError(f"{show_path(remote)}: --server takes files and folders of this machine.")
    try:
        client = Client(url, key)
    except ValueError as error:
        raise UsageError(f"{error}.") from None
    walk = find_submissions(paths)
    if streams:
        for skipped in walk.unreadable:
            print_line(skipped_line(skipped))
    answers: list[FileAnswer] = []
    wants_media = report is not None and audio
    fields = {"add": add} | ({"wide": True} if wide else {})  # older services know no such field
    with (
        ThreadPoolExecutor(max(1, n_jobs(jobs))) as threads,
        Progress(quiet=quiet, noun="files") as progress,
    ):
        futures = [
            threads.submit(_ask, client, found, fields, media=wants_media) for found in walk.files
        ]
        try:
            for n_done, future in enumerate(futures, 1):
                answer = future.result()
                answers.append(answer)
                for skipped in answer.skipped:
                    progress.say_skipped(skipped.path, skipped.reason)
                progress.advance(n_done, len(futures))
                if streams:
                    for line in _lines(answer, lines_of, skipped_line):
                        print_line(line)
        except BaseException:
            for future in futures:
                future.cancel()
            raise
    result = merge_answers(answers, walk.unreadable)
    if result is None:
        raise UsageError(
            f"nothing was checked: none of the {len(walk.files)} files could be used. Give audio "
            "that can be decoded."
        )
    return ServerCheck(result, report, merge_media(answers) if wants_media else None)


def _lines(answer: FileAnswer, lines_of: Any, skipped_line: Any) -> list[dict[str, Any]]:
    lines = list(lines_of(answer.result)) if answer.result is not None else []
    return lines + [skipped_line(skipped) for skipped in answer.skipped]


def _ask(client: Client, found: FoundFile, fields: dict[str, bool], *, media: bool) -> FileAnswer:
    """Have one file checked."""
    from auditor.ingest.session import skip
    from auditor.records import CheckResult, Skipped, result_from_json
    from auditor.report.media.model import media_from_json
    from auditor.serve.client import ServerError

    shown = show_path(found.path)
    try:
        answer = client.check(os.fsdecode(found.path), **fields)
    except OSError as error:
        return FileAnswer(skipped=(skip(found.path, error),))
    except ServerError as error:
        if error.status in _OF_THE_FILE:
            code = error.code or "unreadable"
            return FileAnswer(skipped=(Skipped.of(shown, str(error), code),))
        raise ServiceFailedError(f"{error}") from None
    if (problem := answer["problem"]) is not None:
        sha256 = answer["file"]["sha256"]
        skipped = Skipped.of(shown, problem["detail"], problem["code"], sha256)
        return FileAnswer(skipped=(skipped,))
    result = result_from_json(json.dumps(answer["result"]))
    if not isinstance(result, CheckResult):
        raise ServiceFailedError("the answer of the service is no check.")
    result = dataclasses.replace(
        result,
        submissions=tuple(dataclasses.replace(t, path=shown) for t in result.submissions),
    )
    try:
        text = client.media(answer["id"], patience_s=MEDIA_PATIENCE_S) if media else ""
    except ServerError as error:
        raise ServiceFailedError(f"{error}") from None
    return FileAnswer(result, media=media_from_json(text) if text else None)


def merge_answers(
    answers: Sequence[FileAnswer], unreadable: Sequence[Skipped]
) -> CheckResult | None:
    """Return what was said of all files as one result; None if none could be compared."""
    from auditor.calibration.choose import use_of_submissions
    from auditor.commands.check_stream import merge_results

    skipped = [*unreadable, *(one for answer in answers for one in answer.skipped)]
    results = [result for _, result in _numbered(answers)]
    merged = merge_results(results)
    if merged is None:
        return None
    own = [one for result in results for one in result.skipped]
    return dataclasses.replace(
        merged,
        threshold=use_of_submissions([result.threshold for result in results]),
        skipped=tuple(sorted(dict.fromkeys([*skipped, *own]), key=lambda one: one.path)),
    )


def merge_media(answers: Sequence[FileAnswer]) -> Media:
    """Return the clips and pictures of all files as those of one result."""
    from auditor.report.media.model import Media

    tracks: dict[str, Any] = {}
    pairs: list[Any] = []
    compositions: list[Any] = []
    notes: dict[str, None] = {}
    for answer, result in _numbered(answers):
        if answer.media is None or answer.result is None:
            continue
        old, new = answer.result.submissions[0].id, result.submissions[0].id
        for track in answer.media.tracks:
            name = new if track.id == old else track.id
            tracks.setdefault(name, dataclasses.replace(track, id=name))
        pairs += [dataclasses.replace(pair, a=new) for pair in answer.media.pairs]
        compositions += [dataclasses.replace(one, a=new) for one in answer.media.compositions]
        notes |= dict.fromkeys(answer.media.notes)
    return Media(
        tracks=tuple(tracks.values()),
        pairs=tuple(pairs),
        compositions=tuple(compositions),
        notes=tuple(notes),
    )


def _numbered(answers: Sequence[FileAnswer]) -> list[tuple[FileAnswer, CheckResult]]:
    """Return the results with ids that differ: files of the same bytes have numbers behind them."""
    taken: set[str] = set()
    found = []
    for answer in answers:
        if answer.result is None:
            continue
        old = answer.result.submissions[0].id
        new, n = old, 1
        while new in taken:
            n += 1
            new = f"{old}-{n}"
        taken.add(new)
        found.append((answer, answer.result if new == old else _renamed(answer.result, new)))
    return found


def _renamed(result: CheckResult, new: str) -> CheckResult:
    """Return the result of one file with another id."""
    from auditor.scoring.identifiers import with_new_id

    compositions = result.compositions
    if compositions is not None:
        compositions = dataclasses.replace(
            compositions,
            matches=tuple(dataclasses.replace(m, a=new) for m in compositions.matches),
        )
    conflicts = result.identifiers
    return dataclasses.replace(
        result,
        submissions=tuple(dataclasses.replace(t, id=new) for t in result.submissions),
        pairs=tuple(dataclasses.replace(pair, a=new) for pair in result.pairs),
        thresholds=tuple(dataclasses.replace(t, submission=new) for t in result.thresholds),
        compositions=compositions,
        identifiers=with_new_id(conflicts, new) if conflicts is not None else None,
    )
