"""audit: finds copies in a music collection, shows where they match, and how often it is wrong.

The commands are a thin skin over the functions named here, which are imported on first use so that
``import auditor`` stays quick.

Examples
--------
>>> import auditor
>>> with auditor.open_workspace(".audit", write=True) as workspace:  # doctest: +SKIP
...     result = auditor.scan(workspace, ["music/"])
...     for pair in result.pairs:
...         print(pair.score, pair.a, pair.b)
"""

from __future__ import annotations

import importlib
import os
from typing import Any

__version__ = "0.2.0"

# onnxruntime reports its use to its maker unless this stands before it is imported: nothing of an
# audit leaves the machine.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_HOME = {
    "AuditError": "auditor.errors",
    "Catalogue": "auditor.catalogue.catalogue",
    "Query": "auditor.api.recommend",
    "check": "auditor.api.check",
    "embed_file": "auditor.embedding.embed",
    "load_extractor": "auditor.embedding.extractor",
    "open_workspace": "auditor.workspace",
    "recommend": "auditor.api.recommend",
    "scan": "auditor.api.scan",
    "to_json": "auditor.records",
    "to_notebook": "auditor.report.data_frames",
    "to_pandas": "auditor.report.data_frames",
    "to_polars": "auditor.report.data_frames",
    "write_report": "auditor.report.write",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'auditor' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
