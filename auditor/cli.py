"""The command line: the application, and the one place that turns exceptions into exit codes.

0: nothing was flagged, or the command did what it was asked.  1: something was flagged, or
``audit catalogue verify`` found a problem.  2: error or usage, or a problem that ``audit doctor``
found.  130: interrupted (143, 129: by SIGTERM or SIGHUP, see ``auditor.__main__``).  141: whoever
read the output went away.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import shlex
import sqlite3
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import auditor
from auditor.commands import config
from auditor.commands.log_format import JsonLog, LogFormat
from auditor.commands.options import CONTEXT_COMMAND, CONTEXT_DEBUG
from auditor.errors import AuditError, show_path

EXIT_ERROR = 2
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141

_FULL = (errno.ENOSPC, errno.EDQUOT)
_KEPT = {
    "train": "the last checkpoint is kept",
    "review": "decisions so far are kept",
    "decide": "decisions so far are kept",
}


class AuditGroup(TyperGroup):
    """The group of all commands: remembers what was typed, and catches what they raise."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments, and keep them for the provenance of results."""
        ctx.meta[CONTEXT_COMMAND] = show_path(shlex.join(["audit", *args]))
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run a command; whatever it raises becomes a message on stderr and an exit code."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except typer.Abort:
            _say("cancelled; nothing was changed. Answer y, or give --yes")
            raise typer.Exit(EXIT_ERROR) from None
        except KeyboardInterrupt:
            kept = _KEPT.get(ctx.invoked_subcommand, "embeddings so far are kept")
            _say(f"stopped; {kept}. Run the same command to continue")
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except BrokenPipeError:
            _discard_stdout()
            raise typer.Exit(EXIT_BROKEN_PIPE) from None
        except Exception as error:
            if hasattr(error, "exit_code"):  # typer's own: usage errors and Exit
                raise
            if ctx.meta.get(CONTEXT_DEBUG):
                import traceback

                traceback.print_exc(file=sys.stderr)
            _say(explain(error))
            raise typer.Exit(EXIT_ERROR) from None


def explain(error: Exception) -> str:
    """Return one line that says what went wrong and what to do.

    Examples
    --------
    >>> explain(AuditError("no track has the id 'x'. Run: audit catalogue list"))
    "no track has the id 'x'. Run: audit catalogue list"
    >>> explain(ZeroDivisionError("division by zero"))
    'ZeroDivisionError: division by zero. This is a bug: run the command again with --debug and \
report it.'
    """
    message = " ".join(show_path(str(error)).split())
    if isinstance(error, AuditError):
        return message
    full = isinstance(error, OSError) and error.errno in _FULL
    if full or (isinstance(error, sqlite3.OperationalError) and "full" in message):
        return (
            "the disk is full; everything stored so far is kept. Free some space and run the "
            "command again."
        )
    if isinstance(error, OSError) and error.strerror:
        where = f"{show_path(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        return (
            f"{where}{error.strerror}. Fix this and run the command again; --debug shows where it "
            "failed."
        )
    allocating = (
        "can't allocate memory",
        "bad_alloc",
        "error return without exception set",
        "failed to map segment from shared object",
    )
    if isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError | SystemError | ImportError)
        and any(s in message for s in allocating)
    ):
        return "out of memory. Close other programs, or scan fewer tracks at once."
    name = type(error).__name__
    return f"{name}: {message}. This is a bug: run the command again with --debug and report it."


def _say(message: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        print(f"audit: {message}", file=sys.stderr, flush=True)


def _discard_stdout() -> None:
    """Point stdout at nothing, or the interpreter's last flush would complain."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


COMMANDS = {
    name: name
    for name in (
        *("scan", "check", "compare", "leak", "generated", "tracklist", "review", "decide"),
        *("case", "recommend", "report", "map", "train", "catalogue", "serve", "calibrate"),
        *("doctor", "config"),
    )
} | {"map": "map_tracks", "catalogue": "app", "serve": "app"}
"""In the order of ``--help``, with the function or group in the module of the command's name."""


def make_app(names: Iterable[str] = COMMANDS) -> typer.Typer:
    """Return the application with some commands; what the others import is not imported."""
    made = typer.Typer(
        cls=AuditGroup,
        name="audit",
        help=(
            "Finds copies in a music collection, shows where and how they match, and states how "
            "often it is wrong."
        ),
        epilog=(
            "\b\nExamples:\n"
            "  audit scan music/                      every matching pair in a collection\n"
            "  audit check new.mp3                    does it match a track in the catalogue?\n"
            "  audit recommend music/one.mp3 --top 5  what sounds most like it?\n"
        ),
        no_args_is_help=True,
        rich_markup_mode=None,  # rich would double the time that --help takes
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["--help", "-h"]},
    )
    made.callback()(_root)
    for name in names:
        module = importlib.import_module(f"auditor.commands.{name}")
        command = getattr(module, COMMANDS[name])
        if isinstance(command, typer.Typer):
            made.add_typer(command, name=name, epilog=module.EXAMPLES)
        else:
            made.command(name, epilog=module.EXAMPLES)(command)
    return made


def __getattr__(name: str) -> Any:
    """Return ``app``, the application with all commands, which is made when it is asked for."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()["app"] = made = make_app()
    return made


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"audit {auditor.__version__}")
        raise typer.Exit


def _root(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
    log_format: Annotated[
        LogFormat,
        typer.Option(
            "--log-format",
            envvar="AUDIT_LOG_FORMAT",
            help="How messages are written to stderr: as text, or as one line of JSON each.",
        ),
    ] = LogFormat.TEXT,
) -> None:
    """Run one of the commands below."""
    if log_format is LogFormat.JSON and not isinstance(sys.stderr, JsonLog):
        log = JsonLog(sys.stderr)
        context.call_on_close(log.flush)
        sys.stderr = log
    if context.invoked_subcommand not in (None, "config"):
        path = config.find_config(Path.cwd())
        if path is not None:
            found = config.load_config(path, typer.main.get_command(make_app()))
            _say(f"options from {show_path(path)}")
            context.default_map = dict(found.defaults)


def main() -> None:
    """Run the command line; the ``audit`` console script."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # names need not be valid Unicode
    first = sys.argv[1] if len(sys.argv) > 1 else ""
    alone = first in COMMANDS and first != "config"  # which shows the options of all
    make_app([first] if alone else COMMANDS)(prog_name="audit")


if __name__ == "__main__":
    main()
