"""Every mistake a user can make, as one family of exceptions.

``AuditError`` and its children carry a message of one or two sentences: what happened, with the
value; what was needed; what to type next.  The command line catches them in one place
(``auditor.cli``) and ends with exit code 2.  Mistakes of a caller of the Python functions (a wrong
shape, a negative count) are ``ValueError`` instead.
"""

from __future__ import annotations

import json
import os
import re
import unicodedata


class AuditError(Exception):
    """A mistake the user can fix; the message says how."""


class UsageError(AuditError):
    """Arguments that do not fit together, or a folder without audio."""


class Stopped(KeyboardInterrupt):
    """A signal ends the run, as Ctrl-C does; its number is the argument."""


SKIP_CODES = {
    "changed": "The file changed while it was read.",
    "crashed": "The decoder crashed on it.",
    "damaged-row": "What the catalogue holds of it is damaged.",
    "denied": "Permission to read it is missing.",
    "empty": "It has no bytes.",
    "encrypted": "Its sound is encrypted.",
    "io-error": "The disk, or the store, could not read it.",
    "no-audio": "It has no sound: no audio stream, or none that decodes.",
    "not-a-file": "It is a folder, a pipe or a device.",
    "not-found": "It is not there, or no longer.",
    "not-read": "Its format is not one that this tool reads.",
    "silent": "It is silent, so it was compared with nothing.",
    "too-large": "Decoding it takes more memory than a file may take.",
    "too-short": "It is shorter than one window of the extractor.",
    "too-slow": "Decoding it takes more processor time than a file may take.",
    "unreadable": "It is damaged, or no audio at all.",
}
"""Why a file took no part, by a code that does not change from release to release."""

RETRYABLE = frozenset({"changed", "crashed", "damaged-row", "denied", "io-error", "not-found"})
"""The codes of what may be gone when the same file is tried again."""


class AudioError(AuditError):
    """A file that cannot be decoded, or holds too little audio to embed.

    Parameters
    ----------
    message : str
    code : str
        One of ``SKIP_CODES``.
    """

    default_code = "unreadable"

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(message)
        self.code = code or self.default_code


class TooShortError(AudioError):
    """Less audio than one window of the extractor; another extractor may take it."""

    default_code = "too-short"


class WorkerDiedError(AudioError):
    """A file whose worker process died; with more memory it may do."""

    default_code = "crashed"


AUDIO_ERRORS = {kind.__name__: kind for kind in (AudioError, TooShortError, WorkerDiedError)}
"""By name: what a process that decodes may tell of."""


class CatalogueError(AuditError):
    """A catalogue that is damaged, of another schema, or lacks the track asked for."""


class DamagedTrackError(CatalogueError):
    """A row of one track that is not what was stored; a run goes on without that track.

    Parameters
    ----------
    message : str
    track_id : str
    """

    def __init__(self, message: str, track_id: str = "") -> None:
        super().__init__(message)
        self.track_id = track_id


class WorkspaceLockedError(CatalogueError):
    """Another process is writing to the same workspace."""


class IndexFileError(AuditError):
    """An index or sidecar that is damaged or was built with other weights."""


class WeightsError(AuditError):
    """Extractor weights that are missing, damaged or of another shape than their config."""


class ThresholdError(AuditError):
    """A threshold file that is missing, damaged or calibrated for other weights."""


class ResultError(AuditError):
    """A result file (JSON) that does not follow its schema."""


def show_path(path: str | os.PathLike[str] | bytes) -> str:
    r"""Return a path as printable, valid Unicode: undecodable bytes and controls are escaped.

    Examples
    --------
    >>> show_path(b"a\nb\xff.mp3")
    'a\\nb\\xff.mp3'
    """
    return "".join(c if c.isprintable() else _escape(c) for c in os.fsdecode(path))


def _escape(c: str) -> str:
    undecodable = "\udc80" <= c <= "\udcff"
    data = c.encode("utf-8", "surrogateescape" if undecodable else "surrogatepass")
    return data.decode("latin-1").encode("unicode_escape").decode()


def file_changed(path: str | os.PathLike[str] | bytes) -> AudioError:
    """Return the error of a file that is another one than before it was read."""
    return AudioError(f"{show_path(path)}: changed while it was read. Scan again.", code="changed")


_JOINERS = "\u200c\u200d"


def show_text(text: str) -> str:
    r"""Return a tag as text that cannot act on what shows it.

    Control characters, line and paragraph separators, invisible format characters (such as those
    that reverse the direction of writing), unassigned code points and lone surrogates are shown as
    Python escapes.  The two joiners stay, since Persian, Hindi and emoji are written with them.

    Examples
    --------
    >>> show_text("one\ntwo\u202e\ud800")
    'one\\ntwo\\u202e\\ud800'
    """
    if text.isprintable():
        return text
    return "".join(
        c.encode("unicode_escape").decode()
        if unicodedata.category(c) in ("Cc", "Cf", "Cn", "Cs", "Zl", "Zp") and c not in _JOINERS
        else c
        for c in text
    )


_ACTING = re.compile(
    "[\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e0fff]"
)


def escape_json(text: str) -> str:
    r"""Return JSON of the same meaning in which no sign acts on the terminal that shows it.

    ``json.dumps`` escapes the controls of ASCII only; those beyond, and what reverses the direction
    of writing or is invisible, are escaped here.

    Examples
    --------
    >>> escape_json('["a\u202eb", "\x9b2J"]')
    '["a\\u202eb", "\\u009b2J"]'
    """
    return _ACTING.sub(lambda found: json.dumps(found[0])[1:-1], text)


MAX_TEXT = 500
"""Characters kept of a title, an artist or any other text that a file brings along."""


def clean_text(text: str, *, limit: int = MAX_TEXT) -> str:
    r"""Return a stranger's text as one line of valid Unicode without controls.

    White space of any kind becomes one space; control characters and the marks that reverse the
    direction of writing go; lone surrogates become U+FFFD; at most ``limit`` characters stay.

    Examples
    --------
    >>> clean_text(" a\x00b\n c\u202e ")
    'ab c'
    """
    text = text[: 4 * limit]
    if not text.isprintable():
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        text = "".join(c for c in text if c.isspace() or not _is_control(c))
    return " ".join(text.split())[:limit].rstrip()


def _is_control(c: str) -> bool:
    category = unicodedata.category(c)
    return category == "Cc" or "\u202a" <= c <= "\u202e" or "\u2066" <= c <= "\u2069"
