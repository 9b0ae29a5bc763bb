"""JSON Schema (draft 2020-12) of what scan, check and doctor print, made from the dataclasses.

``docs/schema/`` holds what ``python -m auditor.report.json_schema docs/schema`` writes; a test
makes it again and compares, so the two cannot drift apart.  Like ``config.from_json``, a schema
takes exactly the fields of a dataclass.

References
----------
JSON Schema: A Media Type for Describing JSON Documents, draft 2020-12, June 2022.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import sys
import types
import typing
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Literal

from auditor.api.doctor import Diagnosis
from auditor.records import (
    SCHEMA_VERSION,
    CheckResult,
    CompareResult,
    CompositionVerdict,
    DecisionKind,
    GeneratedResult,
    LeakResult,
    ScanResult,
    TracklistResult,
)

RESULTS = {
    "scan": ScanResult,
    "check": CheckResult,
    "compare": CompareResult,
    "leak": LeakResult,
    "tracklist": TracklistResult,
    "generated": GeneratedResult,
}
"""Results of comparisons: kind to dataclass."""

DOCUMENTS: dict[str, type] = {**RESULTS, "doctor": Diagnosis}
"""What there is a schema of."""

CONSTRAINTS: dict[str, dict[str, Any]] = {
    "Track.sha256": {"pattern": "^[0-9a-f]{64}$"},
    "Track.size": {"minimum": 0},
    "Track.duration_s": {"minimum": 0},
    "Track.source": {"enum": ["file", "fma"]},
    "Pair.pair_id": {"pattern": "^([0-9a-f]{8})?$"},
    "Pair.decision": {"enum": ["", *DecisionKind]},
    "CompositionMatch.pair_id": {"pattern": "^([0-9a-f]{8})?$"},
    "CompositionMatch.decision": {"enum": ["", *DecisionKind]},
    "CompositionMatch.verdict": {"enum": [verdict.value for verdict in CompositionVerdict]},
    "CompositionMatch.transposition": {"minimum": -5, "maximum": 6},
    "Compositions.max_chance_share": {"exclusiveMinimum": 0, "maximum": 1},
    "ScanResult.search": {"enum": ["exact", "annoy"]},
    "CheckResult.search": {"enum": ["exact", "annoy"]},
    "TracklistResult.search": {"enum": ["exact"]},
    "LeakResult.search": {"enum": ["exact"]},
    "CompareResult.search": {"enum": ["exact"]},
    "GeneratedResult.search": {"enum": ["exact"]},
    "Repeat.side": {"enum": ["training", "heldout"]},
    "ReferenceSide.name": {"enum": ["training", "heldout"]},
    "RepeatedTrack.excluded": {"enum": ["", "artist", "recording"]},
    "Excess.what": {"enum": ["recording", "composition"]},
    "ComparedCollection.given_as": {"enum": ["folder", "list", "workspace", "subset"]},
}
"""What a field's type does not say, by class and field."""

_PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}
_CONSTANTS = ("kind", "schema_version")
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def result_schema(kind: str) -> dict[str, Any]:
    """Return the schema of a result.

    Parameters
    ----------
    kind : str
        One of ``DOCUMENTS``.
    """
    return {
        "$schema": _DIALECT,
        "$id": f"urn:audit:{kind}:{SCHEMA_VERSION}",
        "title": f"Result of audit {kind}, version {SCHEMA_VERSION}",
    } | schema_of(DOCUMENTS[kind])


def schema_of(cls: type) -> dict[str, Any]:
    """Return the schema of a dataclass, those it is made of under ``$defs``.

    Fields may be str, int, float, bool, None, Literal, Enum, tuples, dicts with str as keys,
    dataclasses, and unions of these.

    Raises
    ------
    TypeError
        If a field has another type; names it.
    """
    defs: dict[str, Any] = {}
    schema = _object(cls, defs)
    return schema | {"$defs": dict(sorted(defs.items()))} if defs else schema


def _object(cls: type, defs: dict[str, Any]) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    words = field_descriptions(cls)
    properties: dict[str, Any] = {}
    for spec in dataclasses.fields(cls):
        where = f"{cls.__name__}.{spec.name}"
        if spec.name in _CONSTANTS:
            properties[spec.name] = {"const": spec.default}
            continue
        properties[spec.name] = _type(hints[spec.name], defs, where) | CONSTRAINTS.get(where, {})
        if spec.name in words:
            properties[spec.name]["description"] = words[spec.name]
    return {
        "description": _first_sentence(cls),
        "type": "object",
        "properties": properties,
        "required": list(properties),  # to_json writes every field
        "additionalProperties": False,
    }


def _type(hint: Any, defs: dict[str, Any], where: str) -> dict[str, Any]:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint in _PLAIN:
        return {"type": _PLAIN[hint]}
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if hint.__name__ not in defs:
            defs[hint.__name__] = {}  # a class may hold itself
            defs[hint.__name__] = _object(hint, defs)
        return {"$ref": f"#/$defs/{hint.__name__}"}
    if isinstance(hint, type) and issubclass(hint, Enum):
        return {"enum": [member.value for member in hint]}
    if origin is Literal:
        return {"enum": list(args)}
    if origin in (typing.Union, types.UnionType):
        options = [_type(arg, defs, where) for arg in args]
        if all(set(option) == {"type"} for option in options):
            return {"type": [option["type"] for option in options]}
        return {"anyOf": options}
    if origin is tuple and len(args) == 2 and args[1] is Ellipsis:
        return {"type": "array", "items": _type(args[0], defs, where)}
    if origin is tuple:
        items = [_type(arg, defs, where) for arg in args]
        return {"type": "array", "prefixItems": items, "items": False, "minItems": len(items)}
    if origin is dict and args[0] is str:
        return {"type": "object", "additionalProperties": _type(args[1], defs, where)}
    raise TypeError(f"{where} is a {hint}, which has no schema")


def field_descriptions(cls: type) -> dict[str, str]:
    """Return what a class's docstring says of its fields, under ``Attributes``.

    Examples
    --------
    >>> from auditor.records import Track
    >>> field_descriptions(Track)["size"]
    'Bytes.'
    """
    text = (inspect.getdoc(cls) or "").replace("``", "")
    section = re.search(r"\nAttributes\n-+\n(.*?)(?=\n\n\S|\Z)", text, re.DOTALL)
    found: dict[str, str] = {}
    names: list[str] = []
    for line in section[1].splitlines() if section else ():
        if line and not line[0].isspace():
            names = [name.strip() for name in line.partition(" : ")[0].split(",")]
        elif line.strip():
            found |= {name: f"{found.get(name, '')} {line.strip()}".strip() for name in names}
    return found


def _first_sentence(cls: type) -> str:
    text = " ".join((inspect.getdoc(cls) or "").split("\n\n")[0].split())
    return text.replace("``", "")


def write_schemas(folder: Path) -> list[Path]:
    """Write ``KIND.schema.json`` of everything into a folder, and return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for kind in DOCUMENTS:
        files.append(folder / f"{kind}.schema.json")
        files[-1].write_text(schema_text(result_schema(kind)), encoding="utf-8")
    return files


def schema_text(schema: Mapping[str, Any]) -> str:
    """Return a schema as the text of its file."""
    return json.dumps(schema, ensure_ascii=False, indent=2) + "\n"


if __name__ == "__main__":
    for file in write_schemas(Path(sys.argv[1])):
        print(file)
