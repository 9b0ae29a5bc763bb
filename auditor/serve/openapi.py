"""The description of the interface as OpenAPI 3.1.

``docs/openapi.json`` is what ``python -m auditor.serve.openapi docs/openapi.json`` writes; a test
makes it again and compares.  Results have the schemas of ``docs/schema``.

References
----------
OpenAPI Specification 3.1.1, October 2024.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from auditor.records import CheckResult, RecommendResult, Track
from auditor.report.json_schema import schema_of

REF = "#/components/schemas/{model}"


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the description of an application."""
    from auditor.serve.app import schema_names

    found = get_openapi(
        title=app.title,
        version=app.version,
        openapi_version="3.1.0",
        description=app.description,
        routes=app.routes,
    )
    schemas = found.setdefault("components", {}).setdefault("schemas", {})
    named = [(model, "validation") for model in schema_names().values()]
    _, bodies = models_json_schema(named, ref_template=REF)  # type: ignore[arg-type]
    for name, schema in bodies.get("$defs", {}).items():
        schemas.setdefault(name, schema)
    for cls in (CheckResult, RecommendResult, Track):
        schema = _moved(schema_of(cls))
        for name, part in schema.pop("$defs", {}).items():
            schemas[name] = part
        schemas[cls.__name__] = schema
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for path in found["paths"].values():
        for operation in path.values():
            operation["responses"].setdefault("422", {"description": "A value is wrong."})
            content = operation["responses"]["422"].get("content", {})
            if "HTTPValidationError" in json.dumps(content):
                del operation["responses"]["422"]
    found["components"]["schemas"] = dict(sorted(schemas.items()))
    return found


def _moved(schema: Any) -> Any:
    """Return a schema whose references lead to the components."""
    if isinstance(schema, dict):
        return {
            key: value.replace("#/$defs/", "#/components/schemas/")
            if key == "$ref"
            else _moved(value)
            for key, value in schema.items()
        }
    return [_moved(part) for part in schema] if isinstance(schema, list) else schema


def openapi_text() -> str:
    """Return the description as the text of its file."""
    from auditor.serve.app import make_app
    from auditor.serve.service import Service
    from auditor.serve.settings import Settings

    with tempfile.TemporaryDirectory() as folder:
        service = Service(Settings(Path(folder)))
        try:
            return json.dumps(describe(make_app(service)), ensure_ascii=False, indent=2) + "\n"
        finally:
            service.store.close()


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(openapi_text(), encoding="utf-8")
