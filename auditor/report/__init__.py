"""Results as one self-contained HTML file, with the same content as JSON beside it."""

from auditor.report.files import write_report
from auditor.report.page import render_html

__all__ = ["render_html", "write_report"]
