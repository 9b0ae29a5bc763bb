"""The interface under ``/v1``: checks, pairs, tracks, webhooks."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import dataclasses
import datetime
import os
import re
import shutil
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi import Path as Path_
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from auditor.audio.object_store import is_object
from auditor.decisions.apply import apply_decisions, apply_to_compositions, find_pair
from auditor.decisions.review import known_pairs
from auditor.errors import ResultError, UsageError, escape_json, show_path
from auditor.records import CheckResult, result_from_json, tracks_by_id
from auditor.report.html.page import ServedPage, render_html
from auditor.report.media.model import Media, media_from_json
from auditor.scoring.identifiers import conflicts_anew
from auditor.serialisation import parse_json
from auditor.serve import models
from auditor.serve.access import Administers, Caller, Checks, Decides
from auditor.serve.observe import JOB, log
from auditor.serve.problems import CODES, ServiceError, of_error
from auditor.serve.service import Service
from auditor.serve.store import Job, NewJob, QueueFullError, UnknownError, new_id
from auditor.serve.uploads import (
    UploadError,
    drain,
    hash_path,
    paced,
    receive_form,
    resolve,
    safe_name,
    too_large,
)
from auditor.serve.webhooks import check_callback

MAX_WAIT_S = 60.0
MAX_BODY_BYTES = 1 << 16
_FORM_ROOM = 1 << 17
"""Bytes of a form beside its file."""

PAIR_ID = r"^[0-9a-f]{8}$"
TRACK_ID = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"

CheckId = Annotated[str, Path_(max_length=64, examples=["chk_0123456789abcdef"])]
PairId = Annotated[str, Path_(pattern=PAIR_ID, examples=["5e9ae866"])]

router = APIRouter(prefix="/v1")

_MEANING = {
    400: "The request cannot be read.",
    401: "There is no valid key.",
    403: "The key may not do this, or the file is not below an allowed folder.",
    404: "There is no such thing.",
    408: "The body came too slowly.",
    409: "The request contradicts what is stored.",
    413: "The file is too large.",
    415: "The body is neither a form nor JSON.",
    422: "A value is not what it must be.",
    429: "The queue is full, or the key has sent too many requests.",
    503: "No worker is free, or the catalogue cannot be read.",
    507: "There is no room for uploads.",
}


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what OpenAPI says of the errors of a route."""
    found: dict[int | str, dict[str, Any]] = {}
    for status in sorted({400, 401, 403, 422, 429, *statuses}):
        content = {"application/problem+json": {"schema": {"$ref": _REF}}}
        found[status] = {"description": _MEANING[status], "content": content}
        if status in (429, 503, 507):
            found[status]["headers"] = {
                "Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}
            }
    return found


_REF = "#/components/schemas/ProblemBody"


def service_of(request: Request) -> Service:
    """Return the service that a request came to."""
    found: Service = request.app.state.service
    return found


def json_answer(content: Any, status: int = 200, **headers: str) -> JSONResponse:
    """Return an answer of JSON that nobody keeps."""
    return JSONResponse(content, status, headers={"Cache-Control": "no-store", **headers})


# Checks.


@router.post(
    "/checks",
    status_code=202,
    summary="Check a file",
    response_model=models.CheckView,
    responses={
        200: {"model": models.CheckView, "description": "It has ended already."},
        202: {
            "model": models.CheckView,
            "description": "It was accepted.",
            "headers": {"Location": {"schema": {"type": "string"}}},
        },
        **answers(408, 409, 413, 415, 503, 507),
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": {"$ref": "#/components/schemas/CheckForm"}},
                "application/json": {"schema": {"$ref": "#/components/schemas/NamedCheck"}},
            },
        }
    },
)
async def create_check(
    request: Request,
    caller: Checks,
    wait: Annotated[
        float, Query(ge=0, le=MAX_WAIT_S, description="Seconds to wait for the verdict.")
    ] = 0.0,
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1,
            max_length=200,
            pattern="^[\\x21-\\x7e]+$",
            description="The same key and content give the same check.",
        ),
    ] = None,
) -> Response:
    """Check a file that is sent as the part ``file`` of a form, or one that the service can read.

    The answer is 202 with the check, or 200 if it has ended within ``wait`` seconds.
    """
    service = service_of(request)
    key = idempotency_key or ""
    if not key and sum(service.store.counts()[s] for s in ("queued", "running", "adding")) >= (
        service.settings.max_waiting
    ):
        await drain(_body_of(request), service.settings)
        raise _queue_full(service, "so many jobs wait that no more are taken")
    job_id = new_id("chk")
    folder = service.settings.uploads / job_id
    try:
        new = await _read_check(request, service, caller, job_id, folder)
        try:
            job, is_new = await asyncio.to_thread(
                service.store.accept,
                new,
                idempotency_key=key,
                max_waiting=service.settings.max_waiting,
            )
        except QueueFullError as error:
            raise _queue_full(service, str(error)) from None
        if not is_new:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    except BaseException as error:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        if isinstance(error, ClientDisconnect):
            raise ServiceError(400, "incomplete", "the client went away.") from None
        if isinstance(error, sqlite3.OperationalError) and "full" in str(error):
            raise of_error(UploadError(507, "disk-full", "the disk is full.")) from None
        raise
    JOB.set(job.id)
    if is_new:
        log("accepted", job=job.id, key=caller.key.name, bytes=job.size, source=job.source)
        await service.pool.wake()
    job = await _when_ended(service, job, wait)
    ended = job.ended is not None
    view = await asyncio.to_thread(_view, service, job)
    return json_answer(view, 200 if ended else 202, Location=view["links"]["self"])


def _queue_full(service: Service, message: str) -> ServiceError:
    headers = {"Retry-After": str(service.retry_after_s())}
    return ServiceError(429, "queue-full", message, headers)


async def _body_of(request: Request) -> Any:
    async for piece in request.stream():
        yield piece


async def _read_check(
    request: Request, service: Service, caller: Caller, job_id: str, folder: Path
) -> NewJob:
    """Read the request of a check, and store its upload."""
    settings = service.settings
    kind, _, rest = request.headers.get("content-type", "").partition(";")
    kind = kind.strip().lower()
    try:
        if kind == "application/json":
            named = models.NamedCheck.model_validate(await _read_json(request, service))
            return await asyncio.to_thread(_named_job, service, caller, job_id, named)
        if kind != "multipart/form-data":
            raise UploadError(
                415,
                "malformed",
                "send a form (multipart/form-data) with the part file, or JSON with a path.",
            )
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > settings.max_upload_bytes + _FORM_ROOM:
            raise too_large(settings)
        service.quota.check(int(declared) if declared.isdigit() else 0)
        boundary = re.search(r'boundary=(?:"([^"]{1,70})"|([^;\s]{1,70}))', rest)
        if boundary is None:
            raise UploadError(400, "malformed", "the form has no boundary.")
        form = await receive_form(
            _body_of(request),
            (boundary[1] or boundary[2]).encode("latin-1", "replace"),
            folder / "upload",
            settings=settings,
            quota=service.quota,
        )
        fields = models.CheckFields.model_validate(form.fields)
    except UploadError as error:
        if error.status != 408:
            await drain(_body_of(request), settings)
        raise
    except ValidationError as error:
        raise invalid(error) from None
    if form.path is None:
        raise ServiceError(422, "invalid", "the form has no part named file.")
    if form.size == 0:
        raise ServiceError(422, "empty", "the file has no bytes.")
    return _new_job(
        service,
        caller,
        job_id,
        fields,
        source="upload",
        location=os.fsencode(form.path.absolute()),
        name=show_path(safe_name(form.name)),
        size=form.size,
        sha256=form.sha256,
    )


async def _read_json(request: Request, service: Service) -> Any:
    data = bytearray()
    async for piece in paced(_body_of(request), service.settings):
        data += piece
        if len(data) > MAX_BODY_BYTES:
            raise UploadError(413, "too-large", f"the body has more than {MAX_BODY_BYTES:,} bytes.")
    try:
        return parse_json(bytes(data))
    except (ValueError, RecursionError) as error:
        raise UploadError(400, "malformed", f"the body is not JSON: {error}") from None


def _named_job(service: Service, caller: Caller, job_id: str, named: models.NamedCheck) -> NewJob:
    path = resolve(named.path, service.settings.roots)
    remote = is_object(path)
    size, sha256 = (0, "") if remote else hash_path(path)
    if size > service.settings.max_upload_bytes:
        raise too_large(service.settings)
    return _new_job(
        service,
        caller,
        job_id,
        named,
        source="url" if remote else "path",
        location=path,
        name=show_path(os.path.basename(path)),
        size=size,
        sha256=sha256,
    )


def _new_job(
    service: Service, caller: Caller, job_id: str, fields: models.CheckFields, **file: Any
) -> NewJob:
    if fields.callback_url:
        check_callback(fields.callback_url, service.settings.callback_hosts)
    file["location"] = file["location"].hex()
    return NewJob(
        id=job_id,
        key_name=caller.key.name,
        external_id=fields.external_id,
        isrc=fields.isrc,
        owner=fields.owner,
        callback_url=fields.callback_url,
        priority=fields.priority,
        adds=fields.add,
        wide=fields.wide,
        **file,
    )


def invalid(error: ValidationError) -> ServiceError:
    """Return what is wrong with the values of a request."""
    said = [f"{'.'.join(map(str, e['loc'])) or 'body'}: {e['msg']}" for e in error.errors()[:8]]
    return ServiceError(422, "invalid", "; ".join(said))


async def _when_ended(service: Service, job: Job, wait_s: float) -> Job:
    """Return a job when it has ended, or as it is after so many seconds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait_s
    while job.ended is None and (left := deadline - loop.time()) > 0.0:
        await service.pool.wait_for_end(job.id, min(left, 1.0))
        job = await asyncio.to_thread(service.store.job, job.id)
    return job


def _view(service: Service, job: Job) -> dict[str, Any]:
    ahead = service.store.place_in_queue(job) if job.state == "queued" else None
    view = models.check_summary(job, ahead=ahead, titles=CODES)
    text = service.store.result(job.id)
    return view | {"result": parse_json(text) if text else None}


def _job_for(service: Service, caller: Caller, job_id: str) -> Job:
    """Return a job that the caller may see; others are as if there were none."""
    job = service.store.job(job_id)
    if not caller.sees(job.key_name):
        raise UnknownError(f"there is no check {show_path(job_id)[:80]}.")
    return job


@router.get(
    "/checks",
    summary="List checks",
    response_model=models.CheckList,
    responses=answers(503),
)
def list_checks(
    request: Request,
    caller: Checks,
    state: models.State | None = None,
    since: Annotated[
        datetime.datetime | None, Query(description="Those accepted then or later.")
    ] = None,
    external_id: Annotated[str, Query(max_length=200)] = "",
    cursor: Annotated[str, Query(max_length=100, description="`next` of the page before.")] = "",
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """List the checks that the key has asked for, the newest first; others too with ``decide``."""
    service = service_of(request)
    from_s = None
    if since is not None:
        from_s = since.replace(tzinfo=since.tzinfo or datetime.UTC).timestamp()
    jobs = service.store.jobs(
        state=state or "",
        since=from_s,
        key_name=None if caller.key.may("decide") else caller.key.name,
        external_id=external_id,
        before=_read_cursor(cursor),
        limit=limit + 1,
    )
    more = len(jobs) > limit
    items = [models.check_summary(job, ahead=None, titles=CODES) for job in jobs[:limit]]
    return json_answer({"items": items, "next": _cursor(jobs[limit - 1].seq) if more else None})


def _cursor(number: int) -> str:
    return base64.urlsafe_b64encode(f"v1.{number}".encode()).decode().rstrip("=")


def _read_cursor(text: str) -> int | None:
    if not text:
        return None
    with contextlib.suppress(binascii.Error, ValueError, UnicodeError):
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("ascii")
        version, _, number = data.partition(".")
        if version == "v1" and number.isdigit() and len(number) < 18:
            return int(number)
    raise ServiceError(422, "invalid", "the cursor is none that this service gave.")


@router.get(
    "/checks/{check}",
    summary="Show a check",
    response_model=models.CheckView,
    responses=answers(404, 503),
)
async def show_check(
    request: Request,
    caller: Checks,
    check: CheckId,
    wait: Annotated[
        float, Query(ge=0, le=MAX_WAIT_S, description="Seconds to wait for its end.")
    ] = 0.0,
) -> Response:
    """Show a check with its state, verdict and result."""
    service = service_of(request)
    job = await asyncio.to_thread(_job_for, service, caller, check)
    job = await _when_ended(service, job, wait)
    return json_answer(await asyncio.to_thread(_view, service, job))


@router.delete(
    "/checks/{check}",
    summary="Forget a check",
    status_code=204,
    responses=answers(404, 409, 503),
)
def delete_check(request: Request, caller: Checks, check: CheckId) -> Response:
    """Remove a check with its file, result and cases; a track that it has become stays."""
    service = service_of(request)
    _job_for(service, caller, check)
    service.purge(check)
    log("deleted", job=check, key=caller.key.name)
    return Response(status_code=204)


def _verdict_of(service: Service, job: Job) -> CheckResult:
    text = service.store.result(job.id)
    if not text:
        raise ServiceError(404, "not-found", "the check has no verdict yet.")
    found = result_from_json(text)
    assert isinstance(found, CheckResult)
    return found


def _media_of(service: Service, job: Job) -> Media | None:
    if job.media != "ready":
        return None
    try:
        text = (service.settings.media / job.id / "media.json").read_text("utf-8")
        return media_from_json(text)
    except (OSError, ValueError, ResultError):
        return None


def served_page(request: Request) -> ServedPage:
    """Return where the pages find their style and script."""
    assets: Mapping[str, str] = request.app.state.asset_urls
    return ServedPage(assets["case.css"], assets["case.js"])


_HTML: dict[int | str, dict[str, Any]] = {
    200: {"description": "The page.", "content": {"text/html": {"schema": {"type": "string"}}}}
}


_MEDIA: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "As `audit check` writes them beside its report.",
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
}
_CLIP: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The clip.",
        "content": {
            kind: {"schema": {"type": "string", "contentMediaType": kind}}
            for kind in ("audio/ogg", "audio/mp4")
        },
    }
}


@router.get(
    "/checks/{check}/report",
    summary="Show the report of a check",
    response_class=HTMLResponse,
    responses=_HTML | answers(404, 503),
)
def show_report(
    request: Request,
    caller: Checks,
    check: CheckId,
    self_contained: Annotated[
        bool, Query(description="As a file that loads nothing, to keep or send.")
    ] = False,
) -> Response:
    """Show the page of a check: its verdict, each case with its evidence, or a certificate."""
    service = service_of(request)
    job = _job_for(service, caller, check)
    result = _current(service, _verdict_of(service, job))
    media = _media_of(service, job)
    if self_contained:
        name = f"check-{job.id}.html"
        return HTMLResponse(
            render_html(result, media),
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )
    return HTMLResponse(render_html(result, media, served=served_page(request)))


def _current(service: Service, result: CheckResult) -> CheckResult:
    """Return a result with what was decided of its pairs since."""
    tracks = tracks_by_id(result)
    with service.catalogue() as catalogue:
        decisions = catalogue.decisions()
    undecided = [
        dataclasses.replace(pair, flagged=pair.flagged or bool(pair.decision))
        for pair in result.pairs
    ]
    compositions = result.compositions
    if compositions is not None:
        lines = [
            dataclasses.replace(line, flagged=line.flagged or bool(line.decision))
            for line in compositions.matches
        ]
        compositions = dataclasses.replace(
            compositions, matches=apply_to_compositions(lines, tracks, decisions)
        )
    pairs = apply_decisions(undecided, tracks, decisions, service.settings.same_owner)
    result = dataclasses.replace(result, pairs=pairs, compositions=compositions)
    return dataclasses.replace(result, identifiers=conflicts_anew(result))


@router.get(
    "/checks/{check}/media",
    summary="Fetch the clips and pictures of a report",
    response_class=FileResponse,
    responses=_MEDIA | answers(404, 503),
)
def show_media(request: Request, caller: Checks, check: CheckId) -> Response:
    """Fetch all clips, waveforms and matrices of a check as JSON."""
    service = service_of(request)
    job = _job_for(service, caller, check)
    path = service.settings.media / job.id / "media.json"
    if job.media != "ready" or not path.is_file():
        raise ServiceError(404, "not-found", "the check has no clips and pictures.")
    return FileResponse(path, media_type="application/json", headers={"Cache-Control": "no-store"})


@router.get(
    "/checks/{check}/clips/{name}",
    summary="Hear a clip",
    response_class=FileResponse,
    responses=_CLIP | answers(404, 503),
)
def show_clip(
    request: Request,
    caller: Checks,
    check: CheckId,
    name: Annotated[str, Path_(max_length=64, examples=["0.ogg"])],
) -> Response:
    """Hear a few seconds of the submission or of the track, where they match."""
    service = service_of(request)
    job = _job_for(service, caller, check)
    clip = next((clip for clip in job.clips if clip["name"] == name), None)
    path = service.settings.media / job.id / name if clip else None
    if clip is None or path is None or not path.is_file():
        raise ServiceError(404, "not-found", "the check has no such clip.")
    return FileResponse(path, media_type=clip["media_type"].partition(";")[0])


# Cases, and decisions on pairs.


@router.get("/cases", summary="List cases", response_model=models.CaseList, responses=answers(503))
def list_cases(
    request: Request,
    caller: Decides,
    status: Annotated[str, Query(pattern="^(open|decided|all)$")] = "open",
    severity: models.Severity | None = None,
    assigned_to: Annotated[str, Query(max_length=200)] = "",
    q: Annotated[str, Query(max_length=200, description="Words of a title or artist.")] = "",
    cursor: Annotated[str, Query(max_length=100)] = "",
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """List the pairs that checks have flagged, the newest first."""
    service = service_of(request)
    offset = _read_cursor(cursor) or 0
    service.bring_decisions()
    found, total = service.store.cases(
        status=status,
        severity=severity or "",
        assigned_to=assigned_to,
        text=q,
        offset=min(offset, 1 << 40),
        limit=limit,
    )
    after = offset + len(found)
    return json_answer(
        {
            "items": [models.case_view(case) for case in found],
            "total": total,
            "next": _cursor(after) if found and after < total else None,
        }
    )


async def read_model(request: Request, model: type[BaseModel]) -> Any:
    """Return the body of a request as a model of it."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ServiceError(415, "malformed", "send JSON, with Content-Type: application/json.")
    try:
        return model.model_validate(await _read_json(request, service_of(request)))
    except ValidationError as error:
        raise invalid(error) from None


def _json_body(model: type[BaseModel]) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


@router.put(
    "/cases/{pair}/assignment",
    summary="Assign a case",
    status_code=204,
    responses=answers(404, 408, 413, 415, 503),
    openapi_extra=_json_body(models.Assignment),
)
async def assign_case(request: Request, caller: Decides, pair: PairId) -> Response:
    """Say who is to decide a pair."""
    body = await read_model(request, models.Assignment)
    await asyncio.to_thread(service_of(request).store.assign, pair, body.assigned_to.strip())
    return Response(status_code=204)


@router.get(
    "/pairs/{pair}/decision",
    summary="Show what was decided of a pair",
    response_model=models.DecisionHistory,
    responses=answers(404, 503),
)
def show_decision(request: Request, caller: Decides, pair: PairId) -> Response:
    """Show what was decided of a pair, by whom and why, and what counts now."""
    service = service_of(request)
    return json_answer(_history(service, _hashes(service, pair), pair))


def _hashes(service: Service, pair: str) -> tuple[str, str]:
    """Return the hashes of a pair: of a check of this service, or of one before on this machine."""
    found = service.store.hashes_of(pair)
    if len(found) == 1:
        return next(iter(found))
    try:
        with service.catalogue() as catalogue:
            known = [*found, *known_pairs(service.settings.workspace)]
            return find_pair([pair], catalogue, (), known)
    except UsageError:
        if len(found) > 1:
            raise ServiceError(409, "conflict", f"several pairs have the id {pair}.") from None
        raise UnknownError(f"there is no pair {pair} in the checks of this service.") from None


def _history(service: Service, hashes: tuple[str, str], pair: str) -> dict[str, Any]:
    with service.catalogue() as catalogue:
        made = catalogue.decisions(hashes)
    keys = {entry["when"]: entry["key"] for entry in service.store.decided(pair)}
    history = [
        {
            "kind": one.kind,
            "note": one.note,
            "by": one.by,
            "when": one.when,
            "key": keys.get(one.when, ""),
        }
        for one in made
    ]
    counts = made[-1].kind if made and made[-1].kind != "undo" else None
    return {"pair_id": pair, "standing": counts, "history": history}


@router.post(
    "/pairs/{pair}/decision",
    summary="Decide a pair",
    status_code=201,
    response_model=models.DecisionHistory,
    responses=answers(404, 408, 409, 413, 415, 503),
    openapi_extra=_json_body(models.NewDecision),
)
async def decide_pair(request: Request, caller: Decides, pair: PairId) -> Response:
    """Add a decision on a pair; it holds for all later scans and checks, here and elsewhere."""
    service = service_of(request)
    body: models.NewDecision = await read_model(request, models.NewDecision)
    history = await asyncio.to_thread(_decide, service, caller, pair, body)
    log("decided", pair=pair, kind=body.kind, key=caller.key.name)
    return json_answer(history, 201)


def _decide(
    service: Service, caller: Caller, pair: str, body: models.NewDecision
) -> dict[str, Any]:
    hashes = _hashes(service, pair)
    by = body.by.strip() or caller.key.name
    if body.kind == "undo":
        with service.catalogue() as catalogue:
            before = catalogue.decisions(hashes)
        if not before or before[-1].kind == "undo":
            raise ServiceError(409, "conflict", f"the pair {pair} has no decision to take back.")
    try:
        with service.catalogue(write=True) as catalogue:
            made = catalogue.decide(*hashes, body.kind, note=body.note, by=by)
    except ValueError as error:
        raise ServiceError(422, "invalid", str(error)) from None
    service.store.note_decision(
        pair,
        kind=made.kind,
        note=made.note,
        by=made.by,
        key_name=caller.key.name,
        address=caller.address,
        when=made.when,
    )
    service.bring_decisions(now=True)
    return _history(service, hashes, pair)


# The catalogue.


@router.get(
    "/tracks", summary="Find tracks", response_model=models.TrackList, responses=answers(503)
)
def list_tracks(
    request: Request,
    caller: Checks,
    sha256: Annotated[str, Query(pattern="^[0-9a-f]{64}$", description="Of the file.")],
) -> Response:
    """Find the tracks of the catalogue that hold some bytes."""
    with service_of(request).catalogue() as catalogue:
        ids = [track_id for track_id, _ in catalogue.ids_by_sha256(sha256)]
        tracks = [_track(catalogue, track_id) for track_id in ids]
    return json_answer({"items": tracks})


def _track(catalogue: Any, track_id: str) -> dict[str, Any]:
    return dataclasses.asdict(catalogue.track(track_id))


TrackId = Annotated[str, Path_(pattern=TRACK_ID, examples=["mjq2hx5a"])]
_TRACK: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The track.",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Track"}}},
    }
}


@router.get(
    "/tracks/{track}",
    summary="Show a track",
    responses=_TRACK | answers(404, 503),
)
def show_track(request: Request, caller: Checks, track: TrackId) -> Response:
    """Show what the catalogue holds of a track."""
    with service_of(request).catalogue() as catalogue:
        _require_track(catalogue, track)
        return json_answer(_track(catalogue, track))


def _require_track(catalogue: Any, track: str) -> None:
    if not catalogue.sha256_of(track):
        raise UnknownError(f"no track has the id {track}.")


_RECOMMENDED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "As `audit recommend --format json` prints it.",
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/RecommendResult"}}
        },
    }
}


@router.get(
    "/recommendations",
    summary="Find what sounds most like a track",
    responses=_RECOMMENDED | answers(404, 503),
)
async def show_recommendations(
    request: Request,
    caller: Checks,
    track: Annotated[str, Query(pattern=TRACK_ID)],
    top: Annotated[int, Query(ge=1, le=100)] = 10,
    farthest: bool = False,
) -> Response:
    """Find the tracks that sound most like one of the catalogue, or least."""
    return await _ask(request, track, top=top, farthest=farthest, versions=False)


@router.get(
    "/compositions",
    summary="Find other versions of a composition",
    responses=_RECOMMENDED | answers(404, 503),
)
async def show_compositions(
    request: Request,
    caller: Checks,
    track: Annotated[str, Query(pattern=TRACK_ID)],
    top: Annotated[int, Query(ge=1, le=100)] = 10,
) -> Response:
    """Find tracks that may be the same composition as one of the catalogue, played anew."""
    return await _ask(request, track, top=top, farthest=False, versions=True)


async def _ask(request: Request, track: str, **query: Any) -> Response:
    service = service_of(request)

    def require() -> None:
        with service.catalogue() as catalogue:
            _require_track(catalogue, track)

    await asyncio.to_thread(require)
    try:
        answer = await service.pool.query({"do": "recommend", "of": track, **query}, limit_s=30.0)
    except TimeoutError:
        raise ServiceError(
            503, "unavailable", "no worker was free. Ask again.", {"Retry-After": "5"}
        ) from None
    if "result" not in answer:
        found = answer.get("problem") or {"code": "busy", "detail": answer.get("busy", "")}
        status = 503 if found["code"] in ("busy", "internal", "catalogue") else 422
        headers = {"Retry-After": "5"} if status == 503 else {}
        raise ServiceError(status, found["code"], found["detail"], headers)
    return Response(
        escape_json(answer["result"]),
        media_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


# Webhooks.


@router.get(
    "/webhooks",
    summary="List webhooks",
    response_model=models.WebhookList,
    responses=answers(503),
)
def list_webhooks(
    request: Request,
    caller: Administers,
    state: Annotated[str, Query(pattern="^(pending|delivered|dead)?$")] = "",
    check: Annotated[str, Query(max_length=64)] = "",
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> Response:
    """List webhooks with what became of them, the newest first."""
    found = service_of(request).store.deliveries(state=state, job=check, limit=limit)
    return json_answer({"items": [models.webhook_view(delivery) for delivery in found]})


@router.post(
    "/webhooks/{webhook}/retry",
    summary="Send a webhook again",
    response_model=models.WebhookView,
    responses=answers(404, 503),
)
def retry_webhook(
    request: Request, caller: Administers, webhook: Annotated[str, Path_(max_length=64)]
) -> Response:
    """Send a webhook again, with the same id."""
    return json_answer(models.webhook_view(service_of(request).store.retry(webhook)))
