"""Webhooks: signed, sent to allowed hosts only, tried again with pauses, and kept when given up.

The signature is that of *Standard Webhooks*: HMAC-SHA256 of ``id.timestamp.body``.  A host is
resolved once for each attempt, every address it has must be allowed, and the connection goes to an
address that was checked, so that a name which changes its mind reaches nothing else.  Redirects are
answers like any other: failures.

References
----------
Standard Webhooks 1.0.0, https://www.standardwebhooks.com; RFC 2104 (HMAC).
"""

from __future__ import annotations

import asyncio
import base64
import functools
import hashlib
import hmac
import ipaddress
import os
import random
import secrets
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import auditor
from auditor.errors import UsageError, show_path
from auditor.serve.observe import Metrics, log
from auditor.serve.settings import Settings
from auditor.serve.store import Delivery, Store

PAUSES_S = (5.0, 30.0, 120.0, 600.0, 1800.0, 7200.0, 6 * 3600.0, 12 * 3600.0)
"""After each failed attempt; after the last of them a webhook is dead."""

ATTEMPT_S = 10.0
"""Seconds that an attempt may take, whatever the other side does."""

N_AT_ONCE = 4
_PREFIX = "whsec_"
_MAX_HEAD = 1 << 14


class CallbackError(UsageError):
    """A callback URL that nothing is sent to."""


@dataclass(frozen=True)
class CallbackTarget:
    """Where a webhook goes: parts of its URL."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """Host and port as the request names them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = {"http": 80, "https": 443}[self.scheme]
        return host if self.port == usual else f"{host}:{self.port}"


def check_callback(url: str, hosts: Sequence[str]) -> CallbackTarget:
    """Return the parts of a callback URL whose host is allowed.

    Parameters
    ----------
    url : str
    hosts : sequence of str
        Names, or ``*.example.com`` for all below one.

    Raises
    ------
    CallbackError
        If it is no plain http or https URL, or leads elsewhere.

    Examples
    --------
    >>> check_callback("https://hooks.example.com/a?b=c", ["*.example.com"]).path
    '/a?b=c'
    """
    refused = f"{show_path(url)[:200]!r} is no callback URL"
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".").lower()
        port = parts.port
    except ValueError:
        raise CallbackError(f"{refused}: it cannot be read.") from None
    plain = url.isascii() and url.isprintable() and " " not in url and "\\" not in url
    if parts.scheme not in ("http", "https") or not host or not plain:
        raise CallbackError(f"{refused}: give one that begins with https://, in plain ASCII.")
    if "@" in parts.netloc or parts.fragment:
        raise CallbackError(f"{refused}: it may hold no user, password or fragment.")
    if not any(_fits(host, allowed.lower().rstrip(".")) for allowed in hosts):
        raise CallbackError(f"{refused}: the operator has not allowed its host (--callback-host).")
    target = parts.path or "/"
    if parts.query:
        target += f"?{parts.query}"
    usual = 443 if parts.scheme == "https" else 80
    return CallbackTarget(parts.scheme, host, usual if port is None else port, target)


def _fits(host: str, allowed: str) -> bool:
    if allowed.startswith("*."):
        return host.endswith(allowed[1:])
    return host == allowed


def is_public(address: str) -> bool:
    """Say whether an address is one of the public internet.

    Examples
    --------
    >>> [is_public(a) for a in ("8.8.8.8", "10.0.0.1", "169.254.169.254", "::ffff:127.0.0.1")]
    [True, False, False, False]
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(ip, "ipv4_mapped", None)
    for embedded in (mapped, getattr(ip, "sixtofour", None)):
        if embedded is not None:
            return is_public(str(embedded))
    if ip.version == 6 and ip in ipaddress.ip_network("64:ff9b::/96"):  # NAT64
        return is_public(str(ipaddress.ip_address(int(ip) & 0xFFFFFFFF)))
    return ip.is_global and not ip.is_multicast


async def resolve_host(host: str, port: int, *, private: bool) -> str:
    """Return an address of a host; every one that it has must be allowed.

    Raises
    ------
    CallbackError
        If it has none, or one that is not public and ``private`` is False.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise CallbackError(f"{host} cannot be resolved: {error}") from None
    addresses = [str(entry[4][0]) for entry in found]
    for address in addresses:
        if not private and not is_public(address):
            raise CallbackError(f"{host} has the address {address}, which is not public")
    if not addresses:
        raise CallbackError(f"{host} has no address")
    return addresses[0]


def signing_secret(folder: Path) -> str:
    """Return the secret that webhooks are signed with; made where there is none.

    Raises
    ------
    UsageError
        If it cannot be written or read.
    """
    path = folder / "webhook.secret"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except FileExistsError:
            text = path.read_text("ascii").strip()
            base64.b64decode(text.removeprefix(_PREFIX), validate=True)
            return text
        text = _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()
        with os.fdopen(descriptor, "w") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{show_path(path)} cannot be used: {error}. Remove it for a new secret."
        ) from None
    return text


def sign(secret: str, delivery_id: str, timestamp: int, body: str) -> str:
    """Return the signature of a webhook as its header has it.

    Examples
    --------
    >>> sign("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330,
    ...      '{"test": 2432232314}')
    'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE='
    """
    key = base64.b64decode(secret.removeprefix(_PREFIX))
    digest = hmac.new(key, f"{delivery_id}.{timestamp}.{body}".encode(), hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def verify(secret: str, headers: dict[str, str], body: str, *, tolerance_s: float = 300.0) -> bool:
    """Say whether a webhook was signed with a secret, and not long ago; for those who receive them.

    Parameters
    ----------
    secret : str
    headers : dict of str to str
        With names in lower case.
    body : str
        As it was received.
    tolerance_s : float
        Age that a signature may have.
    """
    try:
        when = int(headers["webhook-timestamp"])
        expected = sign(secret, headers["webhook-id"], when, body)
        given = headers["webhook-signature"].split(" ")
    except (KeyError, ValueError):
        return False
    fresh = abs(time.time() - when) <= tolerance_s
    return fresh and any(hmac.compare_digest(expected, one) for one in given)


async def post(target: CallbackTarget, address: str, headers: dict[str, str], body: str) -> int:
    """Post a body to an address that was checked, and return the status of the answer.

    Raises
    ------
    OSError
        If the connection fails.
    ValueError
        If the answer is not HTTP.
    """
    secure = None
    if target.scheme == "https":
        secure = ssl.create_default_context()
    reader, writer = await asyncio.open_connection(
        address,
        target.port,
        ssl=secure,
        server_hostname=target.host if secure else None,
        limit=_MAX_HEAD,
    )
    try:
        data = body.encode()
        lines = [
            f"POST {target.path} HTTP/1.1",
            f"Host: {target.authority}",
            f"Content-Length: {len(data)}",
            "Content-Type: application/json",
            "Connection: close",
            f"User-Agent: audit/{auditor.__version__}",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        writer.write("\r\n".join([*lines, "", ""]).encode("ascii") + data)
        await writer.drain()
        words = (await reader.readline()).split(None, 2)
        if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
            raise ValueError("the answer is not HTTP")
        return int(words[1])
    finally:
        writer.close()


Attempt = Callable[[Delivery], Awaitable[int]]


class Sender:
    """Sends the webhooks of a store.

    Parameters
    ----------
    settings : Settings
    store : Store
    metrics : Metrics
    secret : str
        See ``signing_secret``.
    """

    def __init__(self, settings: Settings, store: Store, metrics: Metrics, secret: str) -> None:
        self._settings, self._store, self._metrics = settings, store, metrics
        self._secret = secret
        self._running: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Send what is due, for ever."""
        while True:
            free = N_AT_ONCE - len(self._running)
            if free > 0:
                due = await asyncio.to_thread(self._store.due_deliveries, limit=N_AT_ONCE + free)
                for delivery in due:
                    if delivery.id not in self._running and len(self._running) < N_AT_ONCE:
                        task = asyncio.create_task(self.attempt(delivery))
                        self._running[delivery.id] = task
                        task.add_done_callback(functools.partial(self._forget, delivery.id))
            await asyncio.sleep(0.25)

    def _forget(self, delivery_id: str, task: asyncio.Task[None]) -> None:
        self._running.pop(delivery_id, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log("a webhook could not be stored", webhook=delivery_id, detail=str(error))

    async def attempt(self, delivery: Delivery) -> None:
        """Send one webhook, and store how that went."""
        status, error = None, ""
        try:
            async with asyncio.timeout(ATTEMPT_S):
                status = await self._send(delivery)
        except TimeoutError:
            error = f"no answer within {ATTEMPT_S:.0f} s"
        except (OSError, ValueError, CallbackError) as caught:
            error = str(caught) or type(caught).__name__
        delivered = status is not None and 200 <= status < 300
        if status is not None and not delivered:
            error = f"answered {status}"
        n_attempts = delivery.n_attempts + 1
        state, next_at = "delivered", time.time()
        if not delivered:
            state = "dead" if n_attempts > len(PAUSES_S) else "pending"
            pause_s = PAUSES_S[min(n_attempts, len(PAUSES_S)) - 1]
            next_at += pause_s * random.uniform(0.9, 1.1)  # noqa: S311 - not a secret
        await asyncio.to_thread(
            self._store.attempted, delivery.id, state, next_at=next_at, status=status, error=error
        )
        self._metrics.webhooks.labels("delivered" if delivered else "failed").inc()
        log("webhook", job=delivery.job, webhook=delivery.id, state=state, error=error)

    async def _send(self, delivery: Delivery) -> int:
        target = check_callback(delivery.url, self._settings.callback_hosts)
        address = await resolve_host(
            target.host, target.port, private=self._settings.private_callbacks
        )
        now = int(time.time())
        headers = {
            "webhook-id": delivery.id,
            "webhook-timestamp": str(now),
            "webhook-signature": sign(self._secret, delivery.id, now, delivery.body),
        }
        return await post(target, address, headers, delivery.body)
