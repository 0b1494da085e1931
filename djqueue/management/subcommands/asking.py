"""What ``inspect`` and ``control`` have in common: words into arguments, replies into lines."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Mapping
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import Error

from djqueue import registry
from djqueue.conf import did_you_mean
from djqueue.control.asking import Replies, ask
from djqueue.control.catalogue import REQUIRED, Command, Parameter, commands
from djqueue.control.questions import OF_TASKS, with_arguments
from djqueue.exceptions import DjqueueError
from djqueue.management.tables import write_json, write_tree

EXIT_CODES = """\
exit codes: 0 every worker did it, 1 an error, or one of them could not, or did not answer
in time, or none is alive. What is wrong goes to stderr.
"""


NOWHERE_ELSE: dict[str, Command] = {}


def add_arguments(
    parser: ArgumentParser, kind: str, description: str, examples: str, local: Mapping[str, Command] = NOWHERE_ELSE
) -> None:
    """``local`` are further commands, whose functions are called here instead of by workers."""
    parser.description = f"{description}\n\n{catalogue(kind, local)}"
    parser.epilog = examples + EXIT_CODES
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.add_argument("command_name", metavar="COMMAND", nargs="?", help="one of those above; none lists them all")
    parser.add_argument("words", metavar="ARGUMENT", nargs="*", help="in their order, or as name=value")
    parser.add_argument(
        "-d",
        "--destination",
        metavar="NAMES",
        help="workers by name, separated by commas; * and ? are wildcards (default: all that live)",
    )
    parser.add_argument(
        "-t", "--timeout", type=float, default=1.0, metavar="SECONDS", help="how long to wait for replies (1)"
    )
    parser.add_argument("--limit", type=int, metavar="NUMBER", help="do not wait for more replies than that")
    parser.add_argument("--json", action="store_true", help="print one JSON object, replies by worker's name")


def catalogue(kind: str, local: Mapping[str, Command]) -> str:
    """Return the commands of a kind, one a line."""
    known = [*commands(kind), *local.values()]
    width = max(len(_usage(command)) for command in known)
    return "\n".join(["commands:", *(f"  {_usage(command):{width}}  {command.help}" for command in known)])


def _usage(command: Command) -> str:
    words = [command.name]
    for parameter in command.parameters:
        word = f"{parameter.name}..." if parameter.kind is list else parameter.name
        words.append(word if _is_needed(parameter) else f"[{word}]")
    return " ".join(words)


def _is_needed(parameter: Parameter) -> bool:
    return parameter.default is REQUIRED


def run(command: BaseCommand, options: dict[str, Any], kind: str, local: Mapping[str, Command] = NOWHERE_ELSE) -> None:
    registry.load_all()  # with the site's own commands
    if options["command_name"] is None:
        command.stdout.write(catalogue(kind, local))
        return
    known = {**{one.name: one for one in commands(kind)}, **local}
    name = options["command_name"]
    if name not in known:
        raise CommandError(f"unknown {kind} command {name!r}. {did_you_mean(name, known)}")
    destination = [one for one in (options["destination"] or "").split(",") if one] or None
    try:
        arguments = known[name].bind(arguments_of(known[name], options["words"]))
        if name in local:
            _write_done(command, local[name], arguments, options)
            return
        replies = ask(name, arguments, destination=destination, timeout=options["timeout"], limit=options["limit"])
        if name in OF_TASKS:
            with_arguments(replies)
    except (ValueError, DjqueueError) as error:
        raise CommandError(str(error)) from None
    except Error as error:
        raise CommandError(f"the database does not answer: {error}") from None
    _write(command, replies, options)


def arguments_of(command: Command, words: list[str]) -> dict[str, Any]:
    """Return the arguments that words on the command line stand for. Raises ``ValueError``."""
    parameters = {parameter.name: parameter for parameter in command.parameters}
    free = list(command.parameters)
    arguments: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if equals and name in parameters:
            parameter = parameters[name]
            free = [one for one in free if one is not parameter]
        elif free:
            parameter, text = free[0], word
            if parameter.kind is not list:
                free.pop(0)
        else:
            raise ValueError(f"{command.kind} command {command} takes no further argument, got: {word!r}")
        if parameter.kind is list:
            arguments.setdefault(parameter.name, []).append(text)
        else:
            arguments[parameter.name] = _value(command, parameter, text)
    return arguments


def _value(command: Command, parameter: Parameter, text: str) -> Any:
    if parameter.kind is str:
        return text
    try:
        value = json.loads(text.lower() if text.lower() in ("none", "true", "false") else text)
    except ValueError:
        if text.lower() == "none":
            return None
        if parameter.kind is object:
            return text
        raise ValueError(
            f"expected {parameter.name} of {command} to be {parameter.kind.__name__}, got: {text!r}"
        ) from None
    return value


def _write_done(command: BaseCommand, local: Command, arguments: dict[str, Any], options: dict[str, Any]) -> None:
    if options["destination"]:
        raise ValueError(f"control command {local} is for no worker in particular, so it takes no --destination")
    assert local.function is not None
    said = local.function(**arguments)
    write_json(command, {"ok": said}) if options["json"] else command.stdout.write(said)


def _write(command: BaseCommand, replies: Replies, options: dict[str, Any]) -> None:
    if options["json"]:
        write_json(command, replies)
    else:
        for name, value in replies.items():
            _write_one(command, name, value)
    failed = [name for name, value in replies.items() if isinstance(value, dict) and set(value) == {"error"}]
    for name in failed:
        command.stderr.write(f"{name}: {replies[name]['error']}")
    for name in replies.silent:
        command.stderr.write(f"{name} did not answer in {options['timeout']:g} s")
    for name in replies.gone:
        command.stderr.write(f"{name} ended before it answered")
    if not (replies or replies.silent or replies.gone):
        command.stderr.write("no worker is alive")
    enough = options["limit"] is not None and len(replies) >= options["limit"]
    if failed or not replies or ((replies.silent or replies.gone) and not enough):
        sys.exit(1)


def _write_one(command: BaseCommand, name: str, value: Any) -> None:
    if isinstance(value, dict) and set(value) == {"error"}:
        command.stdout.write(command.style.ERROR(f"-> {name}: error"))
    elif isinstance(value, dict) and set(value) == {"ok"} and "\n" not in str(value["ok"]):
        command.stdout.write(f"{command.style.SUCCESS(f'-> {name}:')} {value['ok']}")
    else:
        command.stdout.write(command.style.SUCCESS(f"-> {name}:"))
        write_tree(command, (value["ok"] if isinstance(value, dict) and set(value) == {"ok"} else value) or "- empty -")
