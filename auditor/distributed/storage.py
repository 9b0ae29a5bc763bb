"""Shared storage by URL: a folder that every node sees, or an object store.

What is written is whole as soon as it can be seen: in a folder it is renamed into place, and object
stores show an object only when all of it has arrived.
"""

from __future__ import annotations

import contextlib
import posixpath
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from auditor.errors import UsageError
from auditor.serialisation import atomic_write

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem


@dataclass(frozen=True)
class Storage:
    """Files below a URL; travels to other machines as the URL.

    Attributes
    ----------
    url : str
        A path, or whatever fsspec knows: ``file:///mnt/audit``, ``s3://bucket/audit`` ...
    """

    url: str

    def __truediv__(self, name: str) -> Storage:
        return Storage(posixpath.join(self.url, name))

    def __reduce__(self) -> tuple[type[Storage], tuple[str]]:
        return Storage, (self.url,)  # a connection does not travel

    @cached_property
    def _opened(self) -> tuple[AbstractFileSystem, str]:
        try:
            from fsspec.core import url_to_fs

            return url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            raise UsageError(
                f"--cluster-storage {self.url}: {error}. Give a folder that every node sees, or "
                "install what fsspec needs for this kind of storage, on every node."
            ) from None

    @property
    def folder(self) -> Path | None:
        """The folder where it is one, None for an object store."""
        files, path = self._opened
        return Path(path) if "file" in files.protocol else None

    def read(self, name: str) -> bytes | None:
        """Return what a file holds, None if there is none."""
        files, path = self._opened
        try:
            return files.cat_file(posixpath.join(path, name))
        except FileNotFoundError:
            return None

    def open(self, name: str) -> BinaryIO:
        """Open a file for reading here and there in it.

        Raises
        ------
        OSError
            If it is not there.
        """
        files, path = self._opened
        return files.open(posixpath.join(path, name), "rb")

    def write(self, name: str, data: bytes) -> None:
        """Write a file; until it is whole, nothing of it or what was there before is seen."""
        if self.folder is None:
            files, path = self._opened
            files.pipe_file(posixpath.join(path, name), data)
            return
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(target, data)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        files, path = self._opened
        with contextlib.suppress(FileNotFoundError):
            files.rm_file(posixpath.join(path, name))

    def names(self) -> set[str]:
        """Return the names of the files right below the URL; empty if there is no such folder."""
        files, path = self._opened
        files.invalidate_cache()
        try:
            found = files.ls(path, detail=False)
        except FileNotFoundError:
            return set()
        names = {posixpath.basename(one.rstrip("/")) for one in found}
        return {name for name in names if not name.startswith(".")}
