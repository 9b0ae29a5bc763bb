"""``beet audit``: what a scan finds in a beets library, as flexible attributes of its items.

beets finds this module by its name in the namespace package ``beetsplug``.  The scan runs as a
process of its own, so no other command of beets loads any of it.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterable
from typing import Any

from beets.plugins import BeetsPlugin
from beets.ui import Subcommand, UserError, print_

from auditor.errors import ResultError, show_path
from auditor.records import ScanResult, result_from_json
from auditor.report.item_fields import FIELDS, item_fields


class AuditPlugin(BeetsPlugin):  # type: ignore[misc]  # beets is an extra
    """Finds copies in the library, and says what is the same recording as what."""

    def __init__(self) -> None:
        super().__init__()
        self.config.add({"workspace": "audit", "options": ""})

    def commands(self) -> list[Any]:
        """Return ``beet audit``."""
        command = Subcommand("audit", help="find copies and what else shares audio")
        command.parser.usage = "%prog [QUERY]\n\nThe whole library is scanned; QUERY is printed."
        command.func = self._audit
        return [command]

    def _audit(self, library: Any, _options: Any, query: list[str]) -> None:
        items = list(library.items())
        result = self._scan(os.path.realpath(library.directory), [real_path(i) for i in items])
        fields = item_fields(result)
        by_path = {track.path: fields.get(track.id, {}) for track in result.tracks}
        for item in items:
            store(item, by_path.get(show_path(real_path(item)), {}))
        said = [item for item in library.items(query) if "audit_verdict" in item]
        for item in sorted(said, key=lambda item: (len(item.audit_group), item.audit_group)):
            print_(f"{item.audit_group}  {item.audit_verdict}: {format(item)}")

    def _scan(self, directory: bytes, paths: Iterable[bytes]) -> ScanResult:
        """Scan the folder of the library, and the items that lie elsewhere.

        Raises
        ------
        UserError
            If the scan fails.
        """
        inside = directory.rstrip(b"/") + b"/"
        elsewhere = sorted(path for path in paths if not path.startswith(inside))
        workspace = self.config["workspace"].as_filename()
        report = os.path.join(workspace, "report.html")
        options = ["--workspace", workspace, "--format", "json", "--output", report]
        options += shlex.split(self.config["options"].as_str())
        command = [sys.executable, "-m", "auditor", "scan", *options, "--", directory, *elsewhere]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
        if done.returncode not in (0, 1):
            raise UserError(f"audit scan ended with exit code {done.returncode}")
        try:
            result = result_from_json(done.stdout.decode("utf-8"))
        except (ResultError, UnicodeDecodeError) as error:
            raise UserError(f"audit scan: {error}") from None
        if not isinstance(result, ScanResult):
            raise UserError("audit scan printed no result of a scan")
        return result


def real_path(item: Any) -> bytes:
    """Return the path of an item as the catalogue knows it."""
    return os.path.realpath(os.fsencode(item.path))


def store(item: Any, fields: dict[str, str]) -> None:
    """Make the attributes of an item those of the last scan."""
    before = {name: item[name] for name in FIELDS if name in item}
    if before == fields:
        return
    for name in before.keys() - fields.keys():
        del item[name]
    item.update(fields)
    item.store()
