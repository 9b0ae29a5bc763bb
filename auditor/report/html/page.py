"""Render a result as one HTML file that fetches nothing and runs nothing but its own script.

Every value is escaped by jinja2, and shown through ``wording.show_text``, so that a hostile tag is
text and nothing else.  The Content-Security-Policy names the one style and the one script of the
page by their SHA-256 (Content Security Policy Level 3, W3C, section 2.3.1).
"""

from __future__ import annotations

import base64
import functools
import gzip
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from auditor.errors import show_text
from auditor.records import Result, result_bytes
from auditor.report.html.views import page_view
from auditor.report.media.model import Media
from auditor.report.results_csv import to_csv


def playable(policy: str) -> str:
    """Return a Content-Security-Policy that also lets audio files beside the page be played.

    ``'self'`` is the page's own server, ``file:`` the disk where the page was opened from one.

    Examples
    --------
    >>> playable("default-src 'none'; media-src data:; base-uri 'none'")
    "default-src 'none'; media-src data: 'self' file:; base-uri 'none'"
    """
    return re.sub(r"media-src [^;]*", "media-src data: 'self' file:", policy)


SCRIPTS = (
    *("report_elements.js", "report_files.js", "report_decisions.js", "report_table.js"),
    *("report_shapes.js", "report_spectra.js", "report_sound.js", "report_case.js"),
    *("report_compositions.js", "report.js"),
)
"""Parts of the one script of a page of cases."""

SERVICE_SCRIPT = "report_service.js"
"""A further part, of pages that a service serves."""


@dataclass(frozen=True)
class ServedPage:
    """Where a page that a service serves finds its style and script, and the service's first page.

    Attributes
    ----------
    style, script, home : str
        URLs.
    """

    style: str
    script: str
    home: str = "/"


MAX_DOWNLOAD = 64 << 20
"""Bytes of the JSON or CSV of a result that its page can still hand out; a larger one lies beside
the page alone."""

_JSON_ESCAPES = str.maketrans({c: f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"})


def render_html(
    result: Result, media: Media | None = None, *, served: ServedPage | None = None
) -> str:
    """Return a result as one self-contained HTML page, the same text for the same arguments.

    Parameters
    ----------
    result : ScanResult, CheckResult or RecommendResult
        What to show.
    media : Media, optional
        What is heard and seen of its pairs; a page without any is whole too.
    served : ServedPage, optional
        Of a check: the page is served, with its style and script (``served_assets``) at these URLs
        and its policy in a header; what is decided in it goes to the service.

    Raises
    ------
    ResultError
        If the result names a track that it does not list, or its histogram is not consistent.
    """
    pages = environment()
    view = page_view(result, media)
    if served is not None and view.get("cases_data"):
        view["cases_data"]["service"] = True
    style = source(pages, "report.css") + source(pages, "case.css")
    if view.get("compositions"):
        style += source(pages, "compositions.css")
    script = join_scripts(pages, SCRIPTS) if view.get("cases_data") else ""
    view["handouts"] = downloads(result) if script else ()
    policy = content_policy(style, script)
    if result.kind == "recommend":
        style = source(pages, "report.css") + source(pages, "recommend.css")
        script = source(pages, "recommend.js") if view["playable"] else ""
        policy = playable(content_policy(style, script))
    return pages.get_template(f"{result.kind}.html.j2").render(
        view, policy=Markup(policy), style=Markup(style), script=Markup(script), served=served
    )


def served_assets() -> dict[str, str]:
    """Return the style and the script of served pages, by the names of their files."""
    pages = environment()
    styles = ("report.css", "case.css", "compositions.css")
    return {
        "case.css": "".join(source(pages, name) for name in styles),
        "case.js": join_scripts(pages, (*SCRIPTS, SERVICE_SCRIPT)),
    }


@dataclass(frozen=True)
class Download:
    """A file that a page hands out; ``packed`` is its content, by gzip and base64."""

    id: str
    label: str
    name: str
    mime: str
    packed: str


def downloads(result: Result) -> tuple[Download, ...]:
    """Return the files beside a page as it hands them out itself, those of bearable size.

    The same bytes as ``write_report`` writes, so that the SHA-256 of a certificate holds for them.
    """
    made = re.sub(r"[^0-9TZ]", "", result.provenance.created)[:16]
    stem = f"audit-{result.kind}{f'-{made}' if made else ''}"
    files = [
        ("CSV", f"{stem}.csv", "text/csv", to_csv(result).encode()),
        ("JSON", f"{stem}.json", "application/json", result_bytes(result)),
    ]
    return tuple(
        Download(f"file-{label.lower()}", label, name, mime, _pack(content))
        for label, name, mime, content in files
        if len(content) <= MAX_DOWNLOAD
    )


def _pack(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, compresslevel=6, mtime=0)).decode()


def join_scripts(pages: Environment, names: Sequence[str]) -> str:
    """Return files of the templates as one script; each may use what stands before it."""
    parts = "\n".join(source(pages, name) for name in names)
    return f'"use strict";\n(() => {{\n{parts}}})();\n'


def content_policy(style: str, script: str) -> str:
    """Return the Content-Security-Policy of a page with one style and at most one script."""
    return "; ".join(
        (
            "default-src 'none'",
            f"style-src '{_csp_hash(style)}'",
            f"script-src '{_csp_hash(script)}'" if script else "script-src 'none'",
            "img-src data:",
            "media-src data: blob:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def json_for_script(data: Any) -> Markup:
    r"""Return data as JSON that can stand inside a script element.

    Examples
    --------
    >>> print(json_for_script(["</script>"]))
    ["\u003c/script\u003e"]
    """
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.translate(_JSON_ESCAPES))


@functools.cache
def environment() -> Environment:
    """Return the templates, set up to escape and to show every value as plain text."""
    pages = Environment(
        loader=PackageLoader("auditor.report.html"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    pages.filters["json_for_script"] = json_for_script
    pages.globals["served"] = None
    return pages


def _finalize(value: Any) -> Any:
    return show_text(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def source(pages: Environment, name: str) -> str:
    """Return a file of the templates as it is."""
    assert pages.loader is not None
    return pages.loader.get_source(pages, name)[0]


def _csp_hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
