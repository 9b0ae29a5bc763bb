"""Requests made from docs/openapi.json: no answer is a fault, and none is undocumented."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from service_process import ROOT, ServiceProcess

pytestmark = pytest.mark.service

EXAMPLES = int(os.environ.get("EXAMPLES", "") or 25)
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_headers_conformance,response_schema_conformance,unsupported_method,ignored_auth"
)


def test_no_request_makes_the_service_fail_or_say_what_it_does_not_document(workspace, tunes_of):
    pytest.importorskip("schemathesis", reason="schemathesis is not installed (serve-test)")
    folder, weights = workspace
    with ServiceProcess(folder, weights, "--workers", "1", "--rate", "1000000") as service:
        made = subprocess.run(
            [
                *(sys.executable, "-m", "auditor", "serve", "keys", "add", "fuzz"),
                *("--scope", "admin", "--workspace", str(folder)),
            ],
            cwd=folder.parent,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
        key = made.stdout.strip()
        client = service.client(key=key)
        check = client.check(tunes_of(1, "copy.mp3"))
        assert check["severity"] == "block"
        done = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "run", f"{service.url}/openapi.json"),
                *("--checks", CHECKS, "--max-examples", str(EXAMPLES), "--seed", "1"),
                *("--phases", "examples,coverage,fuzzing", "--request-timeout", "60"),
                *("--no-color", "--header", f"Authorization: Bearer {key}"),
            ],
            cwd=folder.parent,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
        assert re.search(r"[1-9]\d* (generated|passed)", done.stdout), done.stdout[-3000:]
        assert service.status("/healthz") == 200
        assert "Traceback" not in service.log.read_text()
