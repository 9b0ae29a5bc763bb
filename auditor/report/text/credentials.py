"""What a C2PA manifest says of a track, in words: as what the file says, never as a fact."""

from __future__ import annotations

from collections.abc import Sequence

from auditor.errors import show_text

_SOURCES = {
    "trainedAlgorithmicMedia": "made by AI",
    "compositeWithTrainedAlgorithmicMedia": "made by AI in part",
}
_STATES = {
    "valid": "unchanged since it was signed, signer not verified",
    "trusted": "unchanged since it was signed, signer on a list of trusted ones",
    "invalid": "manifest does not fit the file",
    "elsewhere": "manifest not in the file, and not fetched",
}


def credentials_badge(marks: Sequence[str]) -> str:
    """Return what a manifest says in a few words; empty where there is none.

    Examples
    --------
    >>> credentials_badge(["state:valid", "signer:A Ltd", "source:trainedAlgorithmicMedia"])
    'file says: made by AI (C2PA)'
    >>> credentials_badge(["state:valid"]), credentials_badge(["state:invalid"])
    ('C2PA manifest', 'C2PA manifest invalid')
    """
    if not marks:
        return ""
    state = "".join(_of(marks, "state"))
    bad = " invalid" if state == "invalid" else ""
    sources = [_SOURCES[kind] for kind in _of(marks, "source") if kind in _SOURCES]
    return f"file says: {sources[0]} (C2PA{bad})" if sources else f"C2PA manifest{bad}"


def show_credentials(marks: Sequence[str]) -> str:
    """Return all that a manifest says in one line; empty where there is none.

    Examples
    --------
    >>> show_credentials(["state:invalid", "signer:A Ltd", "generator:machine 3"])
    'the file says: made with machine 3; signed by A Ltd; manifest does not fit the file'
    """
    if not marks:
        return ""
    said = [_SOURCES[kind] for kind in _of(marks, "source") if kind in _SOURCES]
    said += [f"made with {', '.join(made)}"] if (made := _of(marks, "generator")) else []
    said += [f"signed by {', '.join(signers)}"] if (signers := _of(marks, "signer")) else []
    said += [_STATES.get(state, state) for state in _of(marks, "state")]
    return show_text(f"the file says: {'; '.join(said)}")


def _of(marks: Sequence[str], name: str) -> list[str]:
    return [mark.partition(":")[2] for mark in marks if mark.partition(":")[0] == name]
