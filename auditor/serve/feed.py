"""News for open pages, as server-sent events (WHATWG HTML, section 9.2).

An open inbox holds one answer that does not end, and is told on it when the cases or the queue
change.  While nothing changes, a look costs no query.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

from auditor.serve.problems import ServiceError

LOOK_S = 0.5
KEEP_ALIVE_S = 15.0
"""So often something is sent at least: proxies end connections that are silent."""

MAX_LISTENERS = 128


class Feed:
    """The pages that listen.

    Parameters
    ----------
    look : callable
        Returns the texts of the news by their names, in the order in which they are sent.
    """

    def __init__(self, look: Callable[[], dict[str, str]]) -> None:
        self._look = look
        self._n_listeners = 0
        self._is_open = True

    def close(self) -> None:
        """End all answers, and begin no further one."""
        self._is_open = False

    def listen(self, may_listen: Callable[[], bool]) -> AsyncIterator[bytes]:
        """Return the events of one page: all news first, and then each one that changes.

        Parameters
        ----------
        may_listen : callable
            Says whether the page still may; asked every ``KEEP_ALIVE_S``.

        Raises
        ------
        ServiceError
            If ``MAX_LISTENERS`` listen, or the service is ending.
        """
        if not self._is_open or self._n_listeners >= MAX_LISTENERS:
            raise ServiceError(
                503, "unavailable", "too many pages listen. Try again.", {"Retry-After": "30"}
            )
        return self._events(may_listen)

    async def _events(self, may_listen: Callable[[], bool]) -> AsyncIterator[bytes]:
        told: dict[str, str] = {}
        told_s = time.monotonic()
        self._n_listeners += 1
        try:
            while self._is_open:
                news = await asyncio.to_thread(self._look)
                changed = {name: text for name, text in news.items() if told.get(name) != text}
                if changed:
                    yield b"".join(map(_event, changed.items()))
                elif time.monotonic() - told_s > KEEP_ALIVE_S:
                    if not await asyncio.to_thread(may_listen):
                        return
                    yield b":\n\n"
                else:
                    await asyncio.sleep(LOOK_S)
                    continue
                told, told_s = news, time.monotonic()
        finally:
            self._n_listeners -= 1


def _event(item: tuple[str, str]) -> bytes:
    r"""Return an event of one line of text.

    Examples
    --------
    >>> _event(("queue", "No file\nis being checked."))
    b'event: queue\ndata: No file is being checked.\n\n'
    """
    name, text = item
    return f"event: {name}\ndata: {' '.join(text.split())}\n\n".encode()
