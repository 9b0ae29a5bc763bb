"""``audit.toml``: options that need not be typed, and ``audit config``, which shows what holds.

The file is looked for in the current folder and those above it.  A key of the file is the long name
of an option; it holds for every command that has it.  A table of the file is a command::

    workspace = "/music/.audit"

    [scan]
    jobs = 4
    same-owner = ["artist"]

    [catalogue.list]
    format = "json"

What is typed comes before the environment, the environment before the file, and the file before the
defaults.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from auditor.commands.options import DebugOption
from auditor.errors import UsageError, show_path, show_text

Command = Any
"""A command or a group of them, as typer makes them; it has its own copy of click's classes."""

NAME = "audit.toml"
ENVIRONMENT = "AUDIT_CONFIG"
MAX_BYTES = 1 << 16

EXAMPLES = """\b
Examples:
  audit config            options that are set, and by what
  audit config scan       every option of audit scan

audit.toml, in this folder or one above it:
  workspace = "/music/.audit"
  [scan]
  jobs = 4
  same-owner = ["artist"]
"""


@dataclass(frozen=True)
class Config:
    """A file of options: where it is, and the values by command and parameter."""

    path: Path | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)


def find_config(start: Path) -> Path | None:
    """Return the file that holds in a folder: ``$AUDIT_CONFIG``, or the first ``audit.toml`` above.

    An empty ``$AUDIT_CONFIG`` means that none does.
    """
    named = os.environ.get(ENVIRONMENT)
    if named is not None:
        return Path(named) if named else None
    folder = start.absolute()
    return next((f / NAME for f in (folder, *folder.parents) if (f / NAME).is_file()), None)


def load_config(path: Path | None, root: Command) -> Config:
    """Read a file of options.

    Parameters
    ----------
    path : pathlib.Path or None
        None is an empty file.
    root : command of typer
        The application, whose commands and options may be named.

    Raises
    ------
    UsageError
        If it cannot be read, is no TOML, or names what no command has.
    """
    if path is None:
        return Config()
    import tomllib

    shown = show_path(path)
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise UsageError(f"{shown} is larger than 64 KiB, the limit for a file of options.")
        values = tomllib.loads(data.decode("utf-8"))
    except OSError as error:
        raise UsageError(f"{shown} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{shown} is not TOML: {error}.") from None
    defaults: dict[str, Any] = {}
    everywhere = {name: value for name, value in values.items() if not isinstance(value, dict)}
    unused = set(everywhere)
    for words, command in leaf_commands(root):
        place = defaults
        for word in words:
            place = place.setdefault(word, {})
        known = options_of(command)
        for name in everywhere:
            if _plain(name) in known:
                unused.discard(name)
                place[known[_plain(name)].name or ""] = everywhere[name]
    if unused:
        raise UsageError(f"{shown}: no command has the option {show_text(min(unused))!r:.80}.")
    tables = {name: value for name, value in values.items() if isinstance(value, dict)}
    _take_tables(tables, root, defaults, shown)
    return Config(path, defaults)


def _take_tables(
    tables: Mapping[str, Any], group: Command, defaults: dict[str, Any], shown: str
) -> None:
    commands = getattr(group, "commands", {})
    for name, table in tables.items():
        if name not in commands or not isinstance(table, dict):
            raise UsageError(f"{shown}: {show_text(name)!r:.80} is no command. Run: audit --help")
        command = commands[name]
        if hasattr(command, "commands"):
            below = {key: value for key, value in table.items() if isinstance(value, dict)}
            _take_tables(below, command, defaults.setdefault(name, {}), shown)
            table = {key: value for key, value in table.items() if key not in below}
        known = options_of(command)
        for option, value in table.items():
            if _plain(option) not in known:
                raise UsageError(
                    f"{shown}: audit {command.name} has no option {show_text(option)!r:.80}. "
                    f"Run: audit {command.name} --help"
                )
            if isinstance(value, dict):
                raise UsageError(f"{shown}: {show_text(option)!r:.80} is a table, not a value.")
            defaults.setdefault(name, {})[known[_plain(option)].name or ""] = value


def leaf_commands(
    group: Command, words: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Command]]:
    """Yield every command that does something, with the words that name it."""
    children = getattr(group, "commands", None)
    if children is None or (words and getattr(group, "invoke_without_command", False)):
        yield words, group
    for name, child in (children or {}).items():
        yield from leaf_commands(child, (*words, name))


def options_of(command: Command) -> dict[str, Any]:
    """Return the options of a command by their long names, without dashes."""
    return {
        _plain(opt): param
        for param in command.params
        if param.param_type_name == "option"
        for opt in param.opts
        if opt.startswith("--") and opt not in ("--help", "--debug")
    }


def _plain(option: str) -> str:
    return option.removeprefix("--").replace("_", "-")


def typed_options(context: typer.Context) -> list[str]:
    """Return the options that a file set for a command, as one would type them."""
    words: list[str] = []
    for name, param in options_of(context.command).items():
        source = context.get_parameter_source(param.name or "")
        value = context.params.get(param.name or "")
        if source is None or source.name != "DEFAULT_MAP" or value in (None, False):
            continue
        for one in value if isinstance(value, list | tuple) else [value]:
            words += [f"--{name}"] if one is True else [f"--{name}", str(one)]
    return words


def config(
    context: typer.Context,
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="COMMAND",
            help="Show every option of this command, such as scan or catalogue list.",
            show_default=False,
        ),
    ] = None,
    debug: DebugOption = False,
) -> None:
    """Show the options that a file or the environment sets, and which one does.

    Options are set in a file audit.toml in this folder or one above it, or in the file that
    AUDIT_CONFIG names.
    """
    root = context.find_root()
    found = load_config(find_config(Path.cwd()), root.command)
    wanted = tuple(command or ())
    commands = [
        (words, leaf)
        for words, leaf in leaf_commands(root.command)
        if wanted == words[: len(wanted)]
    ]
    if not commands:
        raise UsageError(f"{' '.join(wanted)!r:.80} is no command. Run: audit --help")
    print(f"file: {show_path(found.path) if found.path else f'none; no {NAME} here or above'}")
    for words, leaf in commands:
        place: Any = found.defaults
        for word in words:
            place = place.get(word, {})
        for name, param in options_of(leaf).items():
            value, source = _holds(param, place)
            if source or wanted:
                shown = "-" if value in (None, "") else show_text(str(value))
                print(f"{' '.join(words)} --{name} = {shown}  ({source or 'default'})")


def _holds(param: Any, place: Mapping[str, Any]) -> tuple[Any, str]:
    """Return the value of an option and what sets it; "" for its default."""
    variables = param.envvar if isinstance(param.envvar, list | tuple) else [param.envvar]
    for variable in variables:
        if variable and os.environ.get(variable):
            return os.environ[variable], f"environment variable {variable}"
    if param.name in place:
        return place[param.name], NAME
    value = param.default
    return (None if callable(value) else getattr(value, "value", value)), ""
