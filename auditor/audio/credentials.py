"""What a C2PA manifest in a file says of it (content credentials), by the library of the C2PA.

c2pa-python is optional (``pip install auditor[c2pa]``); without it nothing is read.  A manifest is
a statement of whoever signed it.  The library checks that file and manifest are as they were
signed, and no network is asked: neither for a manifest that lies elsewhere nor for certificates
that were withdrawn, and no signer is on a list of those that are trusted.

References
----------
C2PA, Content Credentials: C2PA Technical Specification 2.2 (2025), actions and validation states.
IPTC, Digital Source Type (NewsCodes).
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from auditor.errors import clean_text

DISTRIBUTION = "c2pa-python"

AI_SOURCES = ("trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia")
"""Digital source types of what a trained model made, in whole or in part."""

_OFFLINE = {
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
    "core": {"allowed_network_hosts": []},
}

_BAD_MANIFEST = (
    *("Assertion", "AssertionNotFound", "Decoding", "Encoding", "Json", "Manifest"),
    *("Signature", "Verify"),
)
"""Errors of the library that say that there is a manifest and that it does not hold together."""

_REMOTE = ("Remote:", "RemoteManifest:")

_MAX_VALUE = 100
"""Characters of a name."""


def can_be_read() -> bool:
    """Say whether the library is installed; whether it works is known where it is used."""
    return importlib.util.find_spec("c2pa") is not None


def read_credentials(path: str | os.PathLike[str] | bytes) -> tuple[str, ...]:
    """Return what the manifest of a file says, as ``NAME:VALUE``; nothing where it has none.

    Parameters
    ----------
    path : path

    Returns
    -------
    tuple of str
        ``state`` is ``valid`` (as it was signed, by whomever), ``trusted``, ``invalid``, or
        ``elsewhere`` for a manifest that the file only names; then, as far as they are known,
        ``signer``, ``generator``, and ``source``, one of ``AI_SOURCES``.
    """
    import c2pa

    try:
        with open(path, "rb") as file:
            reader = c2pa.Reader.try_create(None, file, context=_context())
            if reader is None:
                return ()
            return tuple(dict.fromkeys(_told(json.loads(reader.json()))))
    except c2pa.C2paError as error:
        if str(error).startswith(_REMOTE):
            return ("state:elsewhere",)
        bad = tuple(getattr(c2pa.C2paError, name) for name in _BAD_MANIFEST)
        return ("state:invalid",) if isinstance(error, bad) else ()


@functools.cache
def _context() -> Any:
    import c2pa

    return c2pa.Context.from_dict(_OFFLINE)


def _told(store: dict[str, Any]) -> Iterator[str]:
    """Yield what a manifest store says; parts of another kind than expected say nothing."""
    yield f"state:{clean_text(str(store.get('validation_state', 'invalid'))).lower()}"
    with suppress(KeyError, TypeError, AttributeError):
        manifest = store["manifests"][store["active_manifest"]]
        signed = manifest.get("signature_info") or {}
        for name in ("issuer", "common_name"):
            if value := _text(signed.get(name)):
                yield f"signer:{value}"
        for made_by in manifest.get("claim_generator_info") or ():
            if value := _text(f"{made_by.get('name', '')} {made_by.get('version') or ''}"):
                yield f"generator:{value}"
        if value := _text(manifest.get("claim_generator")):
            yield f"generator:{value}"
        for assertion in manifest.get("assertions") or ():
            if str(assertion.get("label", "")).startswith("c2pa.actions"):
                for action in assertion["data"]["actions"]:
                    kind = str(action.get("digitalSourceType", "")).rpartition("/")[2]
                    if kind in AI_SOURCES:
                        yield f"source:{kind}"


def _text(value: object) -> str:
    return clean_text(value, limit=_MAX_VALUE) if isinstance(value, str) else ""
