"""A client of the service in one file: send files, wait for their verdicts.

It needs the standard library alone, and may be copied away::

    client = Client("http://127.0.0.1:8321", key="audit_...")
    check = client.check("new.mp3", external_id="42")
    print(check["severity"], check["reasons"])
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import ssl
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, urlsplit

WAIT_S = 30.0
PATIENCE_S = 600.0
_PIECE_BYTES = 1 << 16
_TRANSIENT = (429, 503, 507)
N_TRIES = 8


class ServerError(Exception):
    """What a service refused, or why it could not be reached.

    Parameters
    ----------
    message : str
    status : int
        Of the answer; 0 where there was none.
    code : str
        See ``docs/service.md``.
    """

    def __init__(self, message: str, *, status: int = 0, code: str = "") -> None:
        super().__init__(message)
        self.status, self.code = status, code


class Client:
    """A service, as one of its callers sees it.

    Parameters
    ----------
    url : str
        Such as ``http://127.0.0.1:8321``.
    key : str
        Empty on the machine of a service without keys.
    timeout_s : float
        Seconds that an answer may take, beyond what it was asked to wait.

    Raises
    ------
    ValueError
        If it is no URL of http or https.
    """

    def __init__(self, url: str, key: str = "", *, timeout_s: float = 60.0) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r:.200} is no URL of a service; http:// or https:// is needed")
        self._parts, self._key, self._timeout_s = parts, key, timeout_s
        self._base = parts.path.rstrip("/")

    def check(
        self, path: str | os.PathLike[str], *, patience_s: float = PATIENCE_S, **fields: Any
    ) -> dict[str, Any]:
        """Send a file, and return its check once it has ended.

        It is sent once, however often the connection breaks: the service knows it again.

        Parameters
        ----------
        path : path
        patience_s : float
            Seconds after which it is given up.
        **fields
            ``external_id``, ``isrc``, ``owner``, ``callback_url``, ``priority``, ``add``, ``wide``.

        Raises
        ------
        ServerError
            If the service refuses it, or cannot be reached.
        OSError
            If the file cannot be read.
        """
        deadline = time.monotonic() + patience_s
        found = self.send(path, wait_s=WAIT_S, **fields)
        while found["state"] not in ("done", "failed"):
            if time.monotonic() > deadline:
                raise ServerError(
                    f"{found['id']} is {found['state']} after {patience_s:.0f} s. Ask for it later."
                )
            found = self.show(found["id"], wait_s=WAIT_S)
        return found

    def send(
        self,
        path: str | os.PathLike[str],
        *,
        wait_s: float = 0.0,
        idempotency_key: str = "",
        n_tries: int = N_TRIES,
        **fields: Any,
    ) -> dict[str, Any]:
        """Send a file, and return its check as it is after at most ``wait_s`` seconds.

        Parameters
        ----------
        path : path
        wait_s : float
        idempotency_key : str
            By default a new one, which all tries share.
        n_tries : int
            How often it is sent where the service is busy or the connection breaks.
        **fields
            As ``check``.

        Raises
        ------
        ServerError, OSError
            As ``check``.
        """
        headers = {"Idempotency-Key": idempotency_key or secrets.token_hex(16)}
        boundary = secrets.token_hex(16)
        headers["Content-Type"] = f"multipart/form-data; boundary={boundary}"
        target = f"/v1/checks?wait={wait_s:g}"

        def post() -> dict[str, Any]:
            with open(path, "rb") as file:
                head, tail = _form(boundary, os.path.basename(os.fspath(path)), fields)
                size = os.fstat(file.fileno()).st_size
                headers["Content-Length"] = str(len(head) + size + len(tail))
                body = _pieces(head, file, tail)
                return self._json("POST", target, body, headers, wait_s=wait_s)

        return _until_answered(post, n_tries)

    def show(self, check: str, *, wait_s: float = 0.0) -> dict[str, Any]:
        """Return a check, when it has ended or after at most ``wait_s`` seconds.

        Raises
        ------
        ServerError
        """
        target = f"/v1/checks/{quote(check)}?wait={wait_s:g}"
        return _until_answered(lambda: self._json("GET", target, wait_s=wait_s), N_TRIES)

    def media(self, check: str, *, patience_s: float = 60.0) -> str:
        """Return the clips and pictures of a check as JSON, "" if it has none.

        They are made after the verdict, and waited for.

        Raises
        ------
        ServerError
        """
        deadline = time.monotonic() + patience_s
        while self.show(check)["media_pending"] and time.monotonic() < deadline:
            time.sleep(0.25)
        try:
            return self._request("GET", f"/v1/checks/{quote(check)}/media")[1].decode()
        except ServerError as error:
            if error.status != 404:
                raise
            return ""

    def delete(self, check: str) -> None:
        """Remove a check with its file and result.

        Raises
        ------
        ServerError
        """
        self._request("DELETE", f"/v1/checks/{quote(check)}")

    def decide(self, pair: str, kind: str, *, note: str = "", by: str = "") -> dict[str, Any]:
        """Decide a pair, and return what was decided of it so far.

        Raises
        ------
        ServerError
        """
        body = json.dumps({"kind": kind, "note": note, "by": by}).encode()
        headers = {"Content-Type": "application/json"}
        return self._json("POST", f"/v1/pairs/{quote(pair)}/decision", body, headers)

    def _json(
        self,
        method: str,
        target: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        *,
        wait_s: float = 0.0,
    ) -> dict[str, Any]:
        found = json.loads(self._request(method, target, body, headers, wait_s=wait_s)[1])
        if not isinstance(found, dict):
            raise ServerError("the answer is not that of an audit service.")
        return found

    def _request(
        self,
        method: str,
        target: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        *,
        wait_s: float = 0.0,
    ) -> tuple[int, bytes]:
        """Send a request; return the status and the body of its answer."""
        given = {"Accept": "application/json", **(headers or {})}
        if self._key:
            given["Authorization"] = f"Bearer {self._key}"
        connection = self._connect(self._timeout_s + wait_s)
        try:
            # It may have refused a body before its end, and says why.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, self._base + target, body=body, headers=given)
            answer = connection.getresponse()
            data = answer.read()
        except (OSError, http.client.HTTPException) as error:
            where = f"{self._parts.scheme}://{self._parts.netloc}"
            raise ServerError(
                f"{where} cannot be reached: {error or type(error).__name__}."
            ) from None
        finally:
            connection.close()
        if answer.status >= 400:
            raise _refused(answer.status, data)
        return answer.status, data

    def _connect(self, timeout_s: float) -> http.client.HTTPConnection:
        host, port = self._parts.hostname or "", self._parts.port
        if self._parts.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=timeout_s)
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=context)


def _until_answered(ask: Callable[[], dict[str, Any]], n_tries: int) -> dict[str, Any]:
    """Ask again, later and later, where the service is busy or the connection breaks."""
    n_try = 1
    while True:
        try:
            return ask()
        except ServerError as error:
            if n_try >= n_tries or (error.status and error.status not in _TRANSIENT):
                raise
        time.sleep(min(0.5 * 2**n_try, 30.0))
        n_try += 1


def _refused(status: int, data: bytes) -> ServerError:
    try:
        found = json.loads(data)
        return ServerError(str(found["detail"]), status=status, code=str(found["code"]))
    except (ValueError, KeyError, TypeError):
        return ServerError(f"the service answered {status}.", status=status)


def _form(boundary: str, name: str, fields: dict[str, Any]) -> tuple[bytes, bytes]:
    """Return what comes before a file in a form, and what comes after it."""
    parts = []
    for field, value in fields.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        parts.append(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{text}\r\n'
        )
    plain = name.encode("utf-8", "replace").decode()
    quoted = plain.replace("\\", "_").replace('"', "%22").replace("\r", "_").replace("\n", "_")
    parts.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{quoted}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    return "".join(parts).encode(), f"\r\n--{boundary}--\r\n".encode()


def _pieces(head: bytes, file: Any, tail: bytes) -> Iterator[bytes]:
    yield head
    while piece := file.read(_PIECE_BYTES):
        yield piece
    yield tail
