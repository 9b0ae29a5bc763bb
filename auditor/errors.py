"""Every mistake a user can make, as one family of exceptions.

``AuditError`` and its children carry a message of one or two sentences: what happened, with the
value; what was needed; what to type next.  The command line catches them in one place
(``auditor.cli``) and ends with exit code 2.  Mistakes of a caller of the Python functions (a wrong
shape, a negative count) are ``ValueError`` instead.
"""

from __future__ import annotations

import os
import unicodedata


class AuditError(Exception):
    """A mistake the user can mend; the message says how."""


class UsageError(AuditError):
    """Arguments that do not fit together, or a folder without audio."""


class AudioError(AuditError):
    """A file that cannot be decoded, or holds too little audio to embed."""


class TooShortError(AudioError):
    """Less audio than one window of the extractor; another extractor may take it."""


class WorkerDiedError(AudioError):
    """A file whose worker process died; with more memory it may do."""


class CatalogueError(AuditError):
    """A catalogue that is damaged, of another schema, or lacks the track asked for."""


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
