"""A folder of this machine that nobody else can write to, for copies of what is on shared storage.

Its place can be foretold, so that the processes of a node share what lies there; on a machine with
other users somebody could have made it first, and filled it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import tempfile
from pathlib import Path

from auditor.errors import AuditError, show_path


def node_folder() -> Path:
    """Return the folder, made where it is missing: ours, mode 0700, and no link.

    Raises
    ------
    AuditError
        If what is there is something else, or it cannot be made.
    """
    user = os.getuid()
    folder = Path(tempfile.gettempdir()) / f"audit-{user}"
    shown = f"{show_path(folder)} of {socket.gethostname()}"
    try:
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        found = folder.lstat()
    except OSError as error:
        raise AuditError(
            f"{shown} cannot be made: {error.strerror}. Set TMPDIR to a folder that can be written "
            "to."
        ) from None
    if not stat.S_ISDIR(found.st_mode):
        wrong = "is no folder"
    elif found.st_uid != user:
        wrong = f"belongs to the user {found.st_uid}; {user} was expected"
    elif found.st_mode & 0o077:
        wrong = f"is open to other users (mode {stat.S_IMODE(found.st_mode):04o}; 0700 is needed)"
    else:
        return folder
    raise AuditError(
        f"{shown} {wrong}, so what is in it may be another's. Remove it, or set TMPDIR to a folder "
        "of your own, on every node."
    )
