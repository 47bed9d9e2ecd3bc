"""Tables of every command, setting and endpoint, read from the code, as README.md shows them."""

import importlib
import inspect
from collections.abc import Iterator

import click

COMMANDS = {"magnet-train": "training.cli", "magnet-store": "model_store.cli", "magnet-serve": "service.cli"}


def commands() -> str:
    """Per program a table of its commands and one of its options.

    Raises `LookupError` naming a command or option without a help text.
    """
    parts = []
    for program, module in COMMANDS.items():
        leaves = dict(walk(importlib.import_module(module).main, program))
        rows = options(leaves, program)
        if list(leaves) == [program]:
            listing = [summary(program, leaves[program])]
            details = table(["option", "meaning"], [[name, meaning] for name, _, meaning in rows])
        else:
            listing = table(["command", "does"], [[f"`{path}`", summary(path, leaf)] for path, leaf in leaves.items()])
            details = table(["option", "of", "meaning"], rows)
        parts.append("\n".join([f"#### `{program}`", "", *listing, "", *details]))
    return "\n\n".join(parts)


def walk(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, by what is typed to run it."""
    if isinstance(command, click.Group):
        if command.invoke_without_command:
            yield path, command
        for name, child in command.commands.items():
            yield from walk(child, f"{path} {name}")
    else:
        yield path, command


def summary(path: str, command: click.Command) -> str:
    """The first paragraph of a command's help, on one line."""
    if not command.help:
        raise LookupError(f"{path} has no help text")
    return " ".join(inspect.cleandoc(command.help).split("\n\n")[0].split())


def options(leaves: dict[str, click.Command], program: str) -> list[list[str]]:
    """Rows option, commands that have it, meaning; one row where several commands share all of it."""
    users: dict[tuple[str, str], list[str]] = {}
    for path, leaf in leaves.items():
        for parameter in leaf.params:
            if isinstance(parameter, click.Argument):
                users.setdefault((f"`{parameter.make_metavar(click.Context(leaf))}`", "argument"), []).append(path)
            elif isinstance(parameter, click.Option):
                users.setdefault(option(path, parameter), []).append(path)
    short = {path: path.removeprefix(program).strip() or program for path in leaves}
    return [[name, ", ".join(f"`{short[path]}`" for path in paths), text] for (name, text), paths in users.items()]


def option(path: str, parameter: click.Option) -> tuple[str, str]:
    """How an option is written and what it means, with its default where it has one worth showing."""
    names = ", ".join([*parameter.opts, *parameter.secondary_opts])
    if not parameter.help:
        raise LookupError(f"{path} {names} has no help text")
    metavar = parameter.make_metavar(click.Context(click.Command(path))).removesuffix(" RANGE")
    value = "" if parameter.is_flag else f" {metavar}"
    default = parameter.to_info_dict()["default"]
    shown = "" if parameter.is_flag or default is None or callable(default) else f" (default `{default}`)"
    return f"`{names}{value}`", " ".join(parameter.help.split()) + shown


def settings() -> str:
    """A table of the service's environment variables. Raises `LookupError` naming one without a description."""
    from service.settings import Settings

    prefix = Settings.model_config.get("env_prefix", "")
    rows = []
    for name, field in Settings.model_fields.items():
        variable = f"{prefix}{name}".upper()
        if not field.description:
            raise LookupError(f"{variable} has no description")
        default = "" if field.default is None else str(field.get_default(call_default_factory=True))
        rows.append([f"`{variable}`", f"`{default}`" if default else "unset", " ".join(field.description.split())])
    return "\n".join(table(["variable", "default", "meaning"], rows))


def endpoints() -> str:
    """A table of every call in the OpenAPI document. Raises `LookupError` naming one without a description."""
    from service.app import create_app

    rows = []
    for path, operations in create_app().openapi()["paths"].items():
        for method, operation in operations.items():
            call = f"{method.upper()} {path}"
            if not operation.get("description"):
                raise LookupError(f"{call} has no description")
            query = [f"`{given['name']}`" for given in operation.get("parameters", []) if given["in"] == "query"]
            rows.append([f"`{call}`", " ".join(operation["description"].split("\n\n")[0].split()), ", ".join(query)])
    return "\n".join(table(["call", "does", "query"], rows))


def metrics() -> str:
    """A table of everything at `/metrics`. Raises `LookupError` naming a metric without a description."""
    rows = []
    for name, kind, description in telemetry():
        if not description:
            raise LookupError(f"{name} has no description")
        rows.append([f"`{name}`", kind, description])
    return "\n".join(table(["metric", "kind", "says"], rows))


def telemetry() -> Iterator[tuple[str, str, str]]:
    """Name as Prometheus knows it, kind and description of every metric of the service."""
    from service.telemetry import Metrics

    for metric in Metrics()._registry.collect():
        yield metric.name + ("_total" if metric.type == "counter" else ""), metric.type, metric.documentation


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Lines of a Markdown table."""
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return [f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *escaped]]
