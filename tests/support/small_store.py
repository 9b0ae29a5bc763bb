"""An object store in this process: fsspec's own memory, which can also fail, and remembers."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import fsspec
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem


class FaultyStore(MemoryFileSystem):
    """``faulty://``: the memory of fsspec, which notes what is opened and fails when it is told."""

    protocol = "faulty"
    opened: ClassVar[list[str]] = []
    failure: ClassVar[Exception | None] = None
    cut: ClassVar[int] = 0

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.removeprefix("faulty://"))

    def info(self, path, **how):
        if FaultyStore.failure is not None:
            raise FaultyStore.failure
        return super().info(path, **how)

    def open(self, path, mode="rb", **how):
        if mode == "rb" and FaultyStore.failure is not None:
            raise FaultyStore.failure
        found = super().open(path, mode, **how)
        if mode == "rb":
            FaultyStore.opened.append(path.rsplit("/", 1)[-1])
            if FaultyStore.cut:
                return ShortFile(found.getvalue())
        return found


class ShortFile(MemoryFile):
    """A connection that ends ``FaultyStore.cut`` bytes too early."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data=data)

    def read(self, n: int = -1) -> bytes:
        return super().read(min(n, self.size - FaultyStore.cut - self.tell()))


def empty_store() -> FaultyStore:
    """Return the store, with nothing in it and nothing wrong with it."""
    fsspec.register_implementation("faulty", FaultyStore, clobber=True)
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]
    FaultyStore.opened.clear()
    FaultyStore.failure, FaultyStore.cut = None, 0
    return FaultyStore()


def upload(store: FaultyStore, folder: Path, name: str = "music") -> str:
    """Store the files below a folder, and return the URL."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            store.pipe_file(f"/{name}/{path.relative_to(folder)}", path.read_bytes())
    return f"faulty://{name}"
