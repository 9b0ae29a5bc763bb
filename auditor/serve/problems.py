"""Answers that say what went wrong: *Problem Details* (RFC 9457), with the command line's codes."""

from __future__ import annotations

import http
from collections.abc import Mapping
from typing import Any

from auditor.errors import (
    RETRYABLE,
    SKIP_CODES,
    AuditError,
    CatalogueError,
    UsageError,
    WorkspaceLockedError,
    show_text,
)
from auditor.serve.store import ConflictError, QueueFullError, UnknownError
from auditor.serve.uploads import UploadError

MEDIA_TYPE = "application/problem+json"

CODES = SKIP_CODES | {
    "busy": "The catalogue is being written to by another process.",
    "catalogue": "The catalogue is empty, damaged, or lacks what is asked for.",
    "conflict": "The request contradicts what is stored.",
    "disk-full": "There is no room for further uploads.",
    "forbidden": "The key may not do this.",
    "incomplete": "The request ended before it was whole.",
    "index": "An index is damaged, or lacks many tracks.",
    "internal": "A fault of the service; its logs say more.",
    "invalid": "A value of the request is not what it must be.",
    "malformed": "The body of the request cannot be read.",
    "method": "The resource has no such method.",
    "not-added": "The submission could not be added to the catalogue.",
    "not-found": "There is no such thing, or no such file.",
    "queue-full": "Too many jobs wait.",
    "rate": "The key has sent too many requests.",
    "threshold": "There is no threshold for this workspace.",
    "unauthorised": "The request has no valid key.",
    "unavailable": "No worker is free.",
    "usage": "The request cannot be served as it is.",
    "weights": "The extractor cannot be loaded.",
}
"""Codes of problems, and what each means; those of files are those of the command line."""


class ServiceError(AuditError):
    """A request that is refused.

    Parameters
    ----------
    status : int
    code : str
        One of ``CODES``.
    message : str
    headers : mapping of str to str, optional
    """

    def __init__(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.headers = status, code, dict(headers or {})


def problem(status: int, code: str, detail: str, **more: Any) -> dict[str, Any]:
    """Return the body of an answer that says what went wrong."""
    return {
        "type": f"urn:audit:problem:{code}",
        "title": CODES.get(code, http.HTTPStatus(status).phrase),
        "status": status,
        "detail": show_text(detail),
        "code": code,
        "retryable": code in RETRYABLE
        or code
        in ("busy", "disk-full", "incomplete", "queue-full", "rate", "too-slow", "unavailable"),
        **more,
    }


def of_error(error: AuditError) -> ServiceError:
    """Return what an error of the audit means for the request that met it."""
    if isinstance(error, ServiceError):
        return error
    if isinstance(error, UploadError):
        retry = {"Retry-After": "60"} if error.status in (429, 503, 507) else None
        return ServiceError(error.status, error.code, str(error), retry)
    if isinstance(error, QueueFullError):
        return ServiceError(429, "queue-full", str(error), {"Retry-After": "60"})
    if isinstance(error, ConflictError):
        return ServiceError(409, "conflict", str(error))
    if isinstance(error, UnknownError):
        return ServiceError(404, "not-found", str(error))
    if isinstance(error, WorkspaceLockedError):
        return ServiceError(503, "busy", str(error), {"Retry-After": "5"})
    if isinstance(error, CatalogueError):
        return ServiceError(503, "catalogue", str(error), {"Retry-After": "60"})
    if isinstance(error, UsageError):
        return ServiceError(422, "usage", str(error))
    return ServiceError(500, "internal", str(error))
