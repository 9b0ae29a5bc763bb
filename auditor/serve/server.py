"""Run the service: the HTTP server, how it listens, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from auditor.errors import UsageError
from auditor.serve.app import make_app
from auditor.serve.observe import configure_logs
from auditor.serve.service import Service
from auditor.serve.settings import Settings

HEAD_S = 10.0
"""Seconds in which a request's head must have come."""

MAX_CONNECTIONS = 512


class TimedProtocol(H11Protocol):
    """HTTP/1.1 whose clients do not keep a connection by sending the head of a request slowly."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin a connection."""
        super().connection_made(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        """End it."""
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what has come; the head of a request is waited for only so long."""
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._arm()
        else:
            self._disarm()

    def _arm(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(HEAD_S, self._give_up)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self._timer = None
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self.transport.close()


class DrainingServer(uvicorn.Server):
    """A server that a signal ends with exit code 0, since what it was at is done by then."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End: answers that would never end by themselves are ended first."""
        self.config.app.state.service.feed.close()  # type: ignore[union-attr]
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take signals while it runs; they are not raised again after it."""
        with super().capture_signals():
            try:
                yield
            finally:
                self._captured_signals.clear()


def check_settings(settings: Settings, *, has_keys: bool) -> None:
    """Refuse to be reached from elsewhere without keys.

    Raises
    ------
    UsageError
        If others could reach a service that needs no key.
    """
    if not settings.is_local and not has_keys:
        raise UsageError(
            f"--host {settings.host} is reached from other machines, and there is no key. Make one "
            "first: audit serve keys add NAME --scope check"
        )


def listen(settings: Settings) -> socket.socket:
    """Return the socket that a service listens at.

    Raises
    ------
    UsageError
        If the address is taken or not of this machine.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    found = socket.socket(family)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((settings.host.strip("[]"), settings.port))
    except (OSError, OverflowError) as error:
        found.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(
            f"{settings.host}:{settings.port} cannot be listened at: {reason}. Give another --port "
            "or --host."
        ) from None
    return found


def run(settings: Settings, *, on_listening: Callable[[str], None]) -> None:
    """Serve until a signal ends it; what workers are at is finished first.

    Parameters
    ----------
    settings : Settings
    on_listening : callable
        Takes the URL of the service, once it listens.

    Raises
    ------
    UsageError
        If it cannot listen, or needs keys and has none.
    """
    service = Service(settings)
    with contextlib.ExitStack() as stack:
        stack.callback(service.store.close)
        check_settings(settings, has_keys=service.store.has_keys())
        sock = stack.enter_context(contextlib.closing(listen(settings)))
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        url = f"http://{host}:{sock.getsockname()[1]}"
        config = uvicorn.Config(
            make_app(service),
            http=TimedProtocol,
            ws="none",
            loop="asyncio",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_keep_alive=15,
            timeout_graceful_shutdown=round(settings.drain_s),
            h11_max_incomplete_event_size=1 << 15,
        )
        server = DrainingServer(config)
        configure_logs()
        on_listening(url)
        server.run(sockets=[sock])
