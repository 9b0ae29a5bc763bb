"""The application: its routes, what every answer bears, and what errors become."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import auditor
from auditor.errors import AuditError
from auditor.serve import api, models, pages
from auditor.serve.access import Administers
from auditor.serve.observe import JOB, LOG, log
from auditor.serve.problems import MEDIA_TYPE, ServiceError, of_error, problem
from auditor.serve.service import Service
from auditor.serve.settings import is_loopback

DESCRIPTION = """Checks files against a catalogue of music: what each is too similar to, where, and
how sure that is. Errors are *Problem Details* (RFC 9457) with a `code`; those of files are the
codes of the command line, and so are the ids of pairs and tracks."""

_STATUS_CODES = {404: "not-found", 405: "method", 413: "too-large", 415: "malformed"}


class Gate:
    """What every request passes: whether it may come at all, headers, a line of the log.

    Parameters
    ----------
    app : ASGI application
    service : Service
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.monotonic()
        token = JOB.set("")
        status = 500
        refused = self._refuse(scope)

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *_headers(scope["path"], message)]
            await send(message)

        try:
            if refused is not None:
                await _answer(refused)(scope, receive, send_on)
            else:
                await self._app(scope, receive, send_on)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            metrics = self._service.metrics
            method = scope["method"] if scope["method"] in _METHODS else "other"
            metrics.requests.labels(method, route, str(status)).inc()
            metrics.request_s.labels(route).observe(time.monotonic() - started)
            if route not in ("/healthz", "/readyz", "/metrics"):
                seconds = round(time.monotonic() - started, 4)
                log("request", method=method, path=scope["path"], status=status, seconds=seconds)
            JOB.reset(token)

    def _refuse(self, scope: Scope) -> ServiceError | None:
        """Return why a request of another site is not served, None of one that is."""
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get(b"host", "")
        public = urlsplit(self._service.settings.public_url).netloc
        if self._service.is_open() and host != public:
            # A name that leads here by DNS is another site, and would have no key to give.
            name = urlsplit(f"//{host}").hostname or ""
            if not (is_loopback(name) or name == "testserver"):
                return ServiceError(403, "forbidden", "this host name is not that of the service.")
        if scope["method"] in ("GET", "HEAD", "OPTIONS"):
            return None
        origin = headers.get(b"origin")
        if origin is not None and urlsplit(origin).netloc not in (host, public or host):
            return ServiceError(403, "forbidden", "a page of another site may not do this.")
        if headers.get(b"sec-fetch-site", "none") not in ("none", "same-origin"):
            return ServiceError(403, "forbidden", "a page of another site may not do this.")
        return None


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})


def _headers(path: str, message: Message) -> list[tuple[bytes, bytes]]:
    given = {name.lower() for name, _ in message["headers"]}
    policy = "default-src 'none'; frame-ancestors 'none'"
    kinds = [value for name, value in message["headers"] if name.lower() == b"content-type"]
    if kinds and kinds[0].startswith(b"text/html") and b"content-disposition" not in given:
        policy = pages.POLICY
    return [
        (b"content-security-policy", policy.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"same-origin"),
        (b"cross-origin-resource-policy", b"same-origin"),
        (b"cross-origin-opener-policy", b"same-origin"),
    ]


def _answer(error: ServiceError) -> JSONResponse:
    body = problem(error.status, error.code, str(error))
    return JSONResponse(
        body,
        error.status,
        media_type=MEDIA_TYPE,
        headers={"Cache-Control": "no-store", **error.headers},
    )


def make_app(service: Service) -> FastAPI:
    """Return the application of a service; it starts and stops with it."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        try:
            yield
        finally:
            await service.stop()

    app = FastAPI(
        title="audit",
        version=auditor.__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.state.service = service
    app.state.asset_urls = pages.asset_urls()
    app.include_router(api.router)
    app.include_router(pages.router)
    _add_own_routes(app)
    app.add_exception_handler(AuditError, _on_error)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(ClientDisconnect, _on_gone)
    app.add_exception_handler(Exception, _on_bug)
    app.add_middleware(Gate, service=service)
    return app


def _add_own_routes(app: FastAPI) -> None:
    @app.get("/healthz", summary="Say whether the service lives", response_model=models.Health)
    async def healthz() -> Response:
        """Answer as long as the service lives."""
        return api.json_answer({"status": "ok", "reasons": []})

    @app.get(
        "/readyz",
        summary="Say whether the service is ready",
        response_model=models.Health,
        responses={503: {"model": models.Health, "description": "It is not ready."}},
    )
    def readyz(request: Request) -> Response:
        """Answer 200 once a worker is warm, unless the disk is full or the service is ending."""
        reasons = api.service_of(request).problems()
        body = {"status": "not ready" if reasons else "ok", "reasons": reasons}
        return api.json_answer(body, 503 if reasons else 200)

    @app.get(
        "/metrics",
        summary="Metrics for Prometheus",
        response_class=PlainTextResponse,
        responses=api.answers(),
    )
    def metrics(request: Request, caller: Administers) -> Response:
        """Return the metrics in Prometheus's text format."""
        service = api.service_of(request)
        service.measure()
        return Response(
            service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8"
        )

    @app.get("/openapi.json", include_in_schema=False)
    def openapi(request: Request) -> Response:
        """Return the description of the interface."""
        from auditor.serve.openapi import describe

        return JSONResponse(describe(request.app))


async def _on_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, AuditError)
    found = of_error(error)
    if found.status >= 500 and found.code == "internal":
        LOG.error("a request failed", exc_info=error)
    return _answer(found)


async def _on_http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = _STATUS_CODES.get(error.status_code, "usage")
    detail = {404: "there is no such page.", 405: "the resource has no such method."}.get(
        error.status_code, str(error.detail)
    )
    return _answer(ServiceError(error.status_code, code, detail, error.headers))


async def _on_invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    said = [f"{'.'.join(map(str, e['loc'][1:]))}: {e['msg']}" for e in error.errors()[:8]]
    return _answer(ServiceError(422, "invalid", "; ".join(said)))


async def _on_gone(_: Request, _error: Exception) -> Response:
    return _answer(ServiceError(400, "incomplete", "the client went away."))


async def _on_bug(_: Request, error: Exception) -> Response:
    return _answer(ServiceError(500, "internal", "the service has failed; its logs say more."))


def schema_names() -> dict[str, Any]:
    """Return models that only bodies name."""
    return {
        model.__name__: model
        for model in (
            models.CheckForm,
            models.NamedCheck,
            models.NewDecision,
            models.Assignment,
            models.ProblemBody,
        )
    }
