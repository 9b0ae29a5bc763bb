"""What an operator sets: where the service listens, what it takes, and for how long it keeps it."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field
from pathlib import Path

from auditor.audio.object_store import is_object
from auditor.errors import UsageError, show_path
from auditor.serve.policy import Policy

MIB = 1 << 20


@dataclass(frozen=True)
class Settings:
    """How a service works.

    Attributes
    ----------
    workspace : pathlib.Path
        Folder of the catalogue; what the service stores lies in ``service/`` below it.
    host, port : str, int
        Where it listens; port 0 is any that is free.
    public_url : str
        How others reach it, as written in webhooks; empty for where it listens.
    n_workers : int
        Processes that check.
    extractor, precision : str
        See ``workspace.open_workspace``.
    max_false_alarms : float
        Error budget of a check.
    catalogue_size : int or None
        See ``api.run.Options``.
    same_owner : tuple of str
        See ``api.run.Options``.
    wide : bool
        See ``api.run.Options``.
    compositions : bool
        Compositions are compared, too.
    policy : Policy
    roots : tuple of bytes
        Real folders, and URLs of object stores, below which a request may name files.
    callback_hosts : tuple of str
        Hosts that webhooks may go to; ``*.example.com`` stands for all below it.
    private_callbacks : bool
        They may have addresses that are not public.
    max_upload_bytes : int
    max_waiting : int
        Jobs that have not ended.
    max_disk_bytes : int
        Of uploads, all together.
    min_free_bytes : int
        Of the disk; below it, no upload is taken.
    rate_per_minute : int
        Requests of a key.
    stall_s : float
        Seconds that an upload may send nothing.
    min_bytes_per_s : int
        Slower uploads are ended, after ``stall_s``.
    max_job_s : float
        Seconds that a worker may take for a step of a job.
    max_crashes : int
        Workers that a job may cost.
    keep_uploads_s, keep_results_s : float
        Seconds after the end of a job.
    report_bytes : int
        Of the clips and pictures of a report.
    ray_address : str
        Address of a Ray cluster that embeds; empty for the workers themselves.
    shared : pathlib.Path or None
        Folder that all nodes of the cluster see; by default ``cluster`` in the workspace.
    drain_s : float
        Seconds that a service which is to end waits for what its workers are at.
    """

    workspace: Path
    host: str = "127.0.0.1"
    port: int = 8321
    public_url: str = ""
    n_workers: int = 1
    extractor: str = ""
    precision: str = "float32"
    max_false_alarms: float | None = None
    catalogue_size: int | None = None
    same_owner: tuple[str, ...] = ()
    wide: bool = False
    compositions: bool = False
    policy: Policy = field(default_factory=Policy)
    roots: tuple[bytes, ...] = ()
    callback_hosts: tuple[str, ...] = ()
    private_callbacks: bool = False
    max_upload_bytes: int = 500 * MIB
    max_waiting: int = 1000
    max_disk_bytes: int = 20_000 * MIB
    min_free_bytes: int = 500 * MIB
    rate_per_minute: int = 600
    stall_s: float = 20.0
    min_bytes_per_s: int = 1024
    max_job_s: float = 900.0
    max_crashes: int = 5
    keep_uploads_s: float = 0.0
    keep_results_s: float = 30 * 86_400.0
    report_bytes: int = 10_000_000
    ray_address: str = ""
    shared: Path | None = None
    drain_s: float = 60.0

    @property
    def directory(self) -> Path:
        """Where the service stores what it has."""
        return self.workspace / "service"

    @property
    def uploads(self) -> Path:
        """Where uploads lie until their jobs have ended: where the nodes of a cluster see them."""
        return (self.shared_folder if self.ray_address else self.directory) / "uploads"

    @property
    def shared_folder(self) -> Path:
        """What the workers of a cluster share with this service."""
        return self.shared or self.workspace.absolute() / "cluster"

    @property
    def library(self) -> Path:
        """Where uploads lie that have become tracks, by their content."""
        return self.directory / "library"

    @property
    def media(self) -> Path:
        """Where clips and pictures of reports lie."""
        return self.directory / "media"

    @property
    def map_folder(self) -> Path:
        """Where the page of the map lies."""
        return self.directory / "map"

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the service."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Say whether a host to listen at is reached from this machine only.

    Examples
    --------
    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("0.0.0.0"), is_loopback("db")
    (True, True, False, False)
    """
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def check_root(root: str) -> bytes:
    """Return a root as requests are compared with it: a real folder, or the URL of a store.

    Raises
    ------
    UsageError
        If it is no folder.
    """
    if is_object(root):
        return os.fsencode(root).rstrip(b"/")
    real = os.path.realpath(os.fsencode(root))
    if not os.path.isdir(real):
        raise UsageError(f"{show_path(root)} is no folder. Give a folder, or a URL, with --root.")
    return real


def check_shared(ray_address: str, folder: Path | None) -> Path | None:
    """Return the folder that a service shares with a cluster, absolute; None for the default one.

    Raises
    ------
    UsageError
        If it is no folder, or there is no cluster to share it with, or none that can be shared.
    """
    if ray_address == "auto":
        raise UsageError(
            "--cluster auto would start a cluster for each worker. Start one (ray start --head), "
            "and give its HOST:PORT."
        )
    if folder is None:
        return None
    if not ray_address:
        raise UsageError("--cluster-storage requires --cluster. Give --cluster HOST:PORT.")
    if is_object(str(folder)) or not folder.is_dir():
        raise UsageError(
            f"--cluster-storage {show_path(folder)} is no folder. Uploads lie there: give a folder "
            "that every node sees under the same path."
        )
    return folder.absolute()
