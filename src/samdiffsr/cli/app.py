"""The command line: one command a stage. The workflow calls nothing else, and neither need a person.

Commands import their stage when they run, so `--help` and mistakes answer at once.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from samdiffsr import __version__
from samdiffsr.cli import data, evaluation, masks, reporting, sampling, study, training, upscale
from samdiffsr.cli.stage import Invocation, Topics
from samdiffsr.core.errors import UserError
from samdiffsr.core.files import explained
from samdiffsr.core.logging import configure
from samdiffsr.core.plugins import load_plugins

app = typer.Typer(
    cls=Topics,
    add_completion=False,
    rich_markup_mode=None,  # plain text everywhere: no boxes in logs, and nothing more to import
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (study, data, masks, training, sampling, upscale, evaluation, reporting):
    app.add_typer(group.app)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"samdiffsr {__version__}")
        raise typer.Exit


@app.callback(subcommand_metavar="STAGE [OPTIONS]")
def _program(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks; may stand anywhere.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """The stages of the SAM-DiffSR benchmark. `snakemake` runs them in order; see README.md."""
    context.obj.debug = debug


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one stage.

    A mistake of the user is one line on stderr: exit status 2 for the command line itself, 1 for all else.
    Ctrl-C gives 130. Whatever is a defect of ours keeps its traceback.
    """
    for stream in (sys.stdout, sys.stderr):  # a name that the terminal cannot print is shown escaped
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    given = list(sys.argv[1:] if arguments is None else arguments)
    this = Invocation(given)
    configure()
    try:
        load_plugins()
        code = typer.main.get_command(app).main(
            _debug_first(given), prog_name="samdiffsr", standalone_mode=False, obj=this
        )
    except typer.TyperException as error:  # what Typer has against the command line
        where = context.command_path if (context := getattr(error, "ctx", None)) else "samdiffsr"
        _fail(f"{error.format_message().rstrip('.')}; see {where} --help", error.exit_code)
    except UserError as error:
        if this.debug:
            raise
        _fail(str(error))
    except OSError as error:
        path = error.filename2 or error.filename
        if this.debug or path is None or error.strerror is None:  # not the machine's state but a defect
            raise
        _fail(explained(error, path))
    if code is not None:
        sys.exit(code)


def _debug_first(arguments: list[str]) -> list[str]:
    """--debug before the stage's name, wherever it stood."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    if "--debug" not in arguments[:end]:
        return arguments
    return ["--debug", *(word for word in arguments[:end] if word != "--debug"), *arguments[end:]]


def _fail(line: str, code: int = 1) -> NoReturn:
    print(f"samdiffsr: error: {' '.join(line.split())}", file=sys.stderr, flush=True)
    sys.exit(code)
