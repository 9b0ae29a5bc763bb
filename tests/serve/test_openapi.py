"""The description of the interface in docs/openapi.json: in step with the code, and sound."""

from __future__ import annotations

import json
from pathlib import Path

from jsonschema import Draft202012Validator

from auditor.serve.openapi import openapi_text

FILE = Path(__file__).parents[2] / "docs/openapi.json"


def test_the_file_is_that_of_the_code():
    assert FILE.read_text(encoding="utf-8") == openapi_text(), (
        "Run: python -m auditor.serve.openapi docs/openapi.json"
    )


def references(node):
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(node, list):
        for part in node:
            yield from references(part)


def test_every_reference_leads_somewhere_and_every_schema_is_one():
    document = json.loads(FILE.read_text(encoding="utf-8"))
    assert document["openapi"] == "3.1.0"
    schemas = document["components"]["schemas"]
    for reference in set(references(document)):
        assert reference.removeprefix("#/components/schemas/") in schemas
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"], (method, path)
            errors = [s for s in operation["responses"] if s >= "400" and not path.endswith("z")]
            for status in errors:
                assert "application/problem+json" in operation["responses"][status]["content"]
