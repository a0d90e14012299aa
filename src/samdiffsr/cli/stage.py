"""What every command has in common: lists of values, threads, GPUs; and the list of stages by topic."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from typer.core import TyperCommand, TyperGroup

from samdiffsr.core.gpus import become_several, gpus_here, take_gpus


@dataclass
class Invocation:
    """One call of the program: its arguments as they were given, and whether tracebacks are wanted."""

    arguments: Sequence[str]
    debug: bool = False


class Stage(TyperCommand):
    """A command whose options may take several values, and which settles threads and GPUs before it runs."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        several = {opt for param in self.get_params(ctx) if takes_several(param) for opt in param.opts}
        return super().parse_args(ctx, repeated(args, several))

    def invoke(self, ctx: Any) -> Any:
        given = ctx.params
        processes, given["threads"] = shared(given)
        if given["threads"] is not None:
            os.environ["OMP_NUM_THREADS"] = str(given["threads"])  # read when numpy and torch are imported
        if given.get("device", "cpu") != "cpu":
            take_gpus(processes)
        become_several(processes, ctx.obj.arguments)
        return super().invoke(ctx)


def shared(given: dict[str, Any]) -> tuple[int, int | None]:
    """How many processes a command becomes, and the threads of each.

    With `processes` 0, a training that takes no GPU shares its threads among `cpu_processes`. Their number
    decides the order of summation, so it does not depend on how many cores there are.
    """
    processes, threads = given.get("processes", 1), given["threads"]
    if processes:
        return processes, threads
    on_gpu = given["device"] != "cpu" and gpus_here() > 0
    processes = 1 if on_gpu else given.get("cpu_processes", 1)
    return processes, max(1, threads // processes)


def takes_several(param: Any) -> bool:
    """Whether an option takes every word up to the next option, as its help says: `--parts PATH...`."""
    return param.param_type_name == "option" and (param.metavar or "").endswith("...")


def repeated(arguments: Sequence[str], several: set[str]) -> list[str]:
    """`--parts a b` as `--parts a --parts b`, the only form that Typer reads; without a value, nothing."""
    words: list[str] = []
    option = None  # of those that take several, the one that a word belongs to
    for i, word in enumerate(arguments):
        if word == "--":
            return [*words, *arguments[i:]]
        name, sign, value = word.partition("=")
        if word.startswith("-") and word != "-":
            option = name if name in several else None
            if option is None:
                words.append(word)
            elif sign:
                words += [option, value]
        else:
            words += [word] if option is None else [option, word]
    return words


class Topics(TyperGroup):
    """The program's help lists the stages by topic, in the order in which a study needs them."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        topics: dict[str, list[tuple[str, str]]] = {}
        for name, command in self.commands.items():
            topics.setdefault(getattr(command, "rich_help_panel", ""), []).append(
                (name, command.get_short_help_str(70))
            )
        width = max(map(len, self.commands))
        for topic, rows in topics.items():
            with formatter.section(topic):
                formatter.write_dl([(name.ljust(width), about) for name, about in rows])
