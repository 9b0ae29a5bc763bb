"""Who may do what: keys and sessions, scopes, and how many requests a key may send."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer

from auditor.serve.problems import ServiceError
from auditor.serve.store import ApiKey

SESSION_COOKIE = "audit_session"
SESSION_S = 12 * 3600.0
LOCAL = ApiKey("local", "local", ("admin",), 0.0)
"""Whoever is on this machine, while there is no key."""

_N_KEYS = 10_000

BEARER = HTTPBearer(
    auto_error=False, scheme_name="key", description="A key of `audit serve keys add`."
)
COOKIE = APIKeyCookie(
    name=SESSION_COOKIE, auto_error=False, scheme_name="session", description="Of the pages."
)


@dataclass(frozen=True)
class Caller:
    """Who sent a request.

    Attributes
    ----------
    key : ApiKey
    address : str
        Where the request came from; of a proxy, where there is one.
    """

    key: ApiKey
    address: str

    def sees(self, key_name: str) -> bool:
        """Say whether the caller may see a job that a key has asked for."""
        return key_name == self.key.name or self.key.may("decide")


class RateLimiter:
    """A bucket of tokens for each key.

    Parameters
    ----------
    per_minute : int
        Tokens that come; a full bucket has a quarter of them, and at least 10.
    """

    def __init__(self, per_minute: int) -> None:
        self._per_s = per_minute / 60.0
        self._size = max(10.0, per_minute / 4.0)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key_id: str, *, now_s: float | None = None) -> float:
        """Take a token; return 0, or the seconds after which there will be one."""
        now_s = time.monotonic() if now_s is None else now_s
        tokens, then_s = self._buckets.pop(key_id, (self._size, now_s))
        tokens = min(self._size, tokens + (now_s - then_s) * self._per_s)
        wait_s = 0.0 if tokens >= 1.0 else (1.0 - tokens) / self._per_s
        self._buckets[key_id] = (tokens - 1.0 if wait_s == 0.0 else tokens, now_s)
        while len(self._buckets) > _N_KEYS:
            self._buckets.popitem(last=False)
        return wait_s


def needs(scope: str) -> Callable[..., Caller]:
    """Return the dependency that lets only callers pass whose key has a scope."""

    def find(
        request: Request,
        bearer: Annotated[HTTPAuthorizationCredentials | None, Security(BEARER)],
        session: Annotated[str | None, Security(COOKIE)],
    ) -> Caller:
        service = request.app.state.service
        caller = find_caller(service, request, bearer.credentials if bearer else "", session or "")
        if caller is None:
            raise ServiceError(
                401,
                "unauthorised",
                "a key is needed. Send it as 'Authorization: Bearer KEY'; the operator makes one "
                "with audit serve keys add.",
                {"WWW-Authenticate": "Bearer"},
            )
        if not caller.key.may(scope):
            raise ServiceError(403, "forbidden", f"the key lacks the scope {scope}.")
        wait_s = service.limiter.take(caller.key.id)
        if wait_s > 0.0:
            raise ServiceError(
                429,
                "rate",
                f"a key may send {service.settings.rate_per_minute:,} requests a minute.",
                {"Retry-After": str(max(1, round(wait_s)))},
            )
        return caller

    return find


def find_caller(service: Any, request: Request, bearer: str, session: str) -> Caller | None:
    """Return who sent a request, None if nobody may know."""
    address = request.client.host if request.client else ""
    if bearer:
        key = service.store.find_key(bearer)
    elif session:
        key = service.store.find_session(session)
    else:
        key = None
    if key is None and not bearer and service.is_open():
        key = LOCAL
    return None if key is None else Caller(key, address)


Checks = Annotated[Caller, Depends(needs("check"))]
Decides = Annotated[Caller, Depends(needs("decide"))]
Administers = Annotated[Caller, Depends(needs("admin"))]
