"""The pages for people who decide: an inbox of open cases, the case view, and a way in.

The pages hold no script and no style; both are files of the service, and its policy allows no
others (Content Security Policy Level 3).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import parse_qs, urlencode

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse, StreamingResponse
from jinja2 import ChoiceLoader, Environment, PackageLoader

from auditor.records import DECISION_KEYS, DecisionKind
from auditor.report.html.map import served_map_assets
from auditor.report.html.page import ServedPage, environment, render_html, served_assets
from auditor.report.text.general import show_score
from auditor.serve.access import SESSION_COOKIE, SESSION_S, Caller, find_caller
from auditor.serve.api import CheckId, _current, _media_of, _verdict_of, served_page, service_of
from auditor.serve.models import moment, page_of
from auditor.serve.problems import ServiceError
from auditor.serve.service import Service
from auditor.serve.store import StoredCase

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "media-src 'self' data: blob:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
PAGE_SIZE = 50
_MAX_FORM_BYTES = 4096

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


@functools.cache
def templates() -> Environment:
    """Return the templates of the pages, which escape as those of the reports do."""
    pages = environment().overlay(
        loader=ChoiceLoader([PackageLoader("auditor.serve"), PackageLoader("auditor.report.html")])
    )
    return pages


@functools.cache
def assets() -> Mapping[str, tuple[str, bytes]]:
    """Return the files that the pages load: media type and content, by their names."""
    pages = templates()
    assert pages.loader is not None

    def source(name: str) -> str:
        assert pages.loader is not None
        return pages.loader.get_source(pages, name)[0]

    texts = (
        served_assets()
        | served_map_assets()
        | {
            "inbox.css": source("report.css") + source("inbox.css"),
            "inbox.js": source("inbox.js"),
        }
    )
    kinds = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}
    return {name: (kinds[name.rpartition(".")[2]], text.encode()) for name, text in texts.items()}


def asset_urls() -> dict[str, str]:
    """Return where the pages find these files: a changed file has another URL."""
    return {
        name: f"/assets/{hashlib.sha256(data).hexdigest()[:12]}/{name}"
        for name, (_, data) in assets().items()
    }


@router.get("/assets/{digest}/{name}")
def asset(digest: str, name: str) -> Response:
    """Send the style or the script of the pages."""
    if asset_urls().get(name) != f"/assets/{digest}/{name}":
        raise ServiceError(404, "not-found", "there is no such file.")
    kind, data = assets()[name]
    headers = {"Cache-Control": "public, max-age=31536000, immutable"}
    return Response(data, media_type=kind, headers=headers)


def _caller(request: Request) -> Caller | None:
    caller = find_caller(service_of(request), request, "", request.cookies.get(SESSION_COOKIE, ""))
    return caller if caller is not None and caller.key.may("decide") else None


def _to_login(request: Request) -> Response:
    wanted = request.url.path
    return RedirectResponse(f"/login?{urlencode({'next': wanted})}", 303)


def _page(request: Request, name: str, status: int = 200, **view: Any) -> HTMLResponse:
    urls = request.app.state.asset_urls
    text = templates().get_template(name).render(assets=urls, **view)
    return HTMLResponse(text, status, headers={"Cache-Control": "no-store"})


@router.get("/")
def index() -> Response:
    """Lead to the inbox."""
    return RedirectResponse("/inbox", 303)


@router.get("/login")
def login_page(request: Request, next: str = "/inbox") -> Response:
    """Ask for a key."""
    return _page(request, "login.html.j2", target=_inside(next), problem="")


@router.post("/login")
async def login(request: Request) -> Response:
    """Begin a session for the key of a form."""
    service = service_of(request)
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > _MAX_FORM_BYTES:
            raise ServiceError(413, "too-large", "the form is too long.")
    form = parse_qs(body.decode("utf-8", "replace"))
    target = _inside(form.get("next", ["/inbox"])[0])
    key = await asyncio.to_thread(service.store.find_key, form.get("key", [""])[0].strip())
    if key is None or not key.may("decide"):
        problem = "This is no key in use." if key is None else "This key lacks the scope decide."
        return _page(request, "login.html.j2", 403, target=target, problem=problem)
    secret = await asyncio.to_thread(service.store.add_session, key, lasts_s=SESSION_S)
    answer = RedirectResponse(target, 303)
    answer.set_cookie(
        SESSION_COOKIE,
        secret,
        max_age=round(SESSION_S),
        httponly=True,
        samesite="strict",
        secure=service.settings.public_url.startswith("https:"),
    )
    return answer


@router.post("/logout")
def logout(request: Request) -> Response:
    """End the session."""
    service_of(request).store.end_session(request.cookies.get(SESSION_COOKIE, ""))
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(SESSION_COOKIE)
    return answer


def _inside(target: str) -> str:
    """Return a path of this service; anything else leads to the inbox.

    Examples
    --------
    >>> _inside("/cases/chk_1"), _inside("//evil.example"), _inside("https://evil.example")
    ('/cases/chk_1', '/inbox', '/inbox')
    """
    plain = target.startswith("/") and target[1:2] not in ("/", "\\") and target.isprintable()
    return target if plain else "/inbox"


@router.get("/inbox")
def inbox(
    request: Request,
    status: Annotated[str, Query(pattern="^(open|decided|all)$")] = "open",
    severity: Annotated[str, Query(pattern="^(block|warn|pass)?$")] = "",
    assigned_to: Annotated[str, Query(max_length=200)] = "",
    q: Annotated[str, Query(max_length=200)] = "",
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
) -> Response:
    """Show the pairs that checks have flagged."""
    caller = _caller(request)
    if caller is None:
        return _to_login(request)
    service = service_of(request)
    version = service.cases_version()  # before the cases: what changes meanwhile is news
    found, total = service.store.cases(
        status=status,
        severity=severity,
        assigned_to=assigned_to,
        text=q,
        offset=(page - 1) * PAGE_SIZE,
        limit=PAGE_SIZE,
    )
    filters = {"status": status, "severity": severity, "assigned_to": assigned_to, "q": q}
    given = {name: value for name, value in filters.items() if value}

    def link(number: int) -> str:
        return f"/inbox?{urlencode(given | {'page': str(number)})}"

    n_pages = max(1, -(-total // PAGE_SIZE))
    return _page(
        request,
        "inbox.html.j2",
        cases=[_row(case) for case in found],
        total=total,
        filters=filters,
        previous=link(page - 1) if page > 1 else "",
        following=link(page + 1) if page < n_pages else "",
        page=page,
        n_pages=n_pages,
        version=version,
        queue=service.queue_line(),
        kinds=[(kind.value, kind.replace("-", " "), DECISION_KEYS[kind]) for kind in DecisionKind],
        user=caller.key.name,
        session=bool(request.cookies.get(SESSION_COOKIE)),
    )


@router.get("/inbox/events")
def inbox_events(request: Request) -> Response:
    """Tell an open inbox when the cases or the queue change."""
    if _caller(request) is None:
        raise ServiceError(401, "unauthorised", "sign in again.")
    events = service_of(request).feed.listen(lambda: _caller(request) is not None)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)


def _row(case: StoredCase) -> dict[str, Any]:
    when = (moment(case.created) or "")[:16].replace("T", " ")
    return {
        "pair_id": case.pair_id,
        "verdict": case.verdict,
        "kind": case.kind,
        "score": show_score(case.score),
        "severity": case.severity,
        "submission": case.label_a,
        "track": case.label_b,
        "decision": case.decision.replace("-", " "),
        "assigned_to": case.assigned_to,
        "created": f"{when} UTC",
        "href": page_of(case),
    }


@router.get("/map")
def map_page(request: Request) -> Response:
    """Show the map of the catalogue, or that it is being drawn."""
    if _caller(request) is None:
        return _to_login(request)
    urls = request.app.state.asset_urls
    drawn = service_of(request).map.page(ServedPage(urls["map.css"], urls["map.js"]))
    if drawn.page:
        return HTMLResponse(drawn.page, headers={"Cache-Control": "no-store"})
    return _page(request, "map_wait.html.j2", 503 if drawn.problem else 200, problem=drawn.problem)


@router.get("/cases/{check}")
def case_page(request: Request, check: CheckId) -> Response:
    """Show the report of a check, in which its pairs can be decided."""
    if _caller(request) is None:
        return _to_login(request)
    service: Service = service_of(request)
    job = service.store.job(check)
    result = _current(service, _verdict_of(service, job))
    media = None
    with contextlib.suppress(ServiceError):
        media = _media_of(service, job)
    text = render_html(result, media, served=served_page(request))
    return HTMLResponse(text, headers={"Cache-Control": "no-store"})
