"""Commands about a study as a whole: what it needs, what it costs, what of it is released."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from samdiffsr.cli.options import (
    Device,
    Out,
    RecipeText,
    Root,
    StudyOptions,
    Threads,
    grouped,
    path,
    say,
)
from samdiffsr.cli.stage import Stage
from samdiffsr.core.errors import UserError

TOPIC = "A study"
app = typer.Typer()


@app.command("doctor", cls=Stage, rich_help_panel=TOPIC)
@grouped
def doctor(
    study: StudyOptions,
    deep: Annotated[bool, typer.Option("--deep", help="Decode and hash every file.")] = False,
    threads: Threads = 1,
) -> None:
    """Say what the study needs, what is missing and how to get it."""
    from samdiffsr.workflow.doctor import examine, healthy, remove_leftovers, report

    for left in remove_leftovers(study.root):
        say(f"removed {left}: a killed process left it")
    chosen = study.read()
    findings = examine(chosen, study.root, deep=deep, call=study.call(chosen))
    say(report(findings))
    if not healthy(findings):
        raise typer.Exit(1)


@app.command("plan", cls=Stage, rich_help_panel=TOPIC)
@grouped
def plan(
    *,
    targets: Annotated[list[str] | None, typer.Argument(metavar="[TARGET]...", help="Default: all.")] = None,
    study: StudyOptions,
    threads: Threads = 1,
) -> None:
    """Say what a target will cost on this machine."""
    from samdiffsr.workflow.availability import with_present_test_sets
    from samdiffsr.workflow.plan import plan

    chosen = with_present_test_sets(study.read(), study.root)
    for line in plan(chosen, targets or ["all"], study.call(chosen).options(), study.root):
        say(line)


@app.command("schema", cls=Stage, rich_help_panel=TOPIC)
def schema(out: Out = Path("config.schema.json"), threads: Threads = 1) -> None:
    """Write the JSON schema of config.yaml, for editors."""
    from samdiffsr.config.json_schema import json_schema
    from samdiffsr.core.files import write_json

    write_json(out, json_schema())


@app.command("calibrate", cls=Stage, rich_help_panel=TOPIC)
def calibrate(out: Out, recipe: RecipeText, device: Device = "auto", threads: Threads = 1) -> None:
    """Time a few training steps and network calls on this device."""
    from samdiffsr.training.recipe import CalibrationRecipe
    from samdiffsr.workflow.calibration import calibrate

    calibrate(CalibrationRecipe.parse(recipe), out, device, threads)


@app.command("release", cls=Stage, rich_help_panel=TOPIC)
@grouped
def release(
    *,
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RUN]...", help="A run, e.g. sam_diffsr-x4-s0, or a table for its runs."),
    ] = None,
    study: StudyOptions,
    every: Annotated[bool, typer.Option("--all", help="Every run of the study's tables.")] = False,
    no_dvc: Annotated[bool, typer.Option("--no-dvc", help="Copy without DVC.")] = False,
    remote: Annotated[
        str | None, typer.Option(metavar="NAME", help="DVC remote for them; default: the clone's.")
    ] = None,
    hub: Annotated[Path | None, path("Write a folder for the Hugging Face hub here instead.")] = None,
    half: Annotated[
        bool, typer.Option("--half", help="With --hub: averaged weights only, in 16 bits.")
    ] = False,
    licence: Annotated[str, typer.Option(metavar="ID", help="With --hub: the weights' licence.")] = "mit",
    licence_file: Annotated[Path | None, path("Text of that licence; default: LICENSE.")] = None,
    threads: Threads = 1,
) -> None:
    """Copy trained models to checkpoints/ and put them under DVC."""
    from samdiffsr.checkpoints.dvc import release, runs_named
    from samdiffsr.checkpoints.hub import write

    if not runs and not every:
        raise UserError("name the runs to release, e.g. sam_diffsr-x4-s0, or a table, or give --all")
    chosen = study.read()
    if hub is None:
        release(chosen, runs or [], study.root, dvc=not no_dvc, remote=remote)
        return
    found = {run.name: run for name in runs or chosen.tables for run in runs_named(chosen, name)}
    for name, run in found.items():
        place = hub if len(found) == 1 else hub / name
        write(chosen, run, place, study.root, half=half, licence=licence, licence_file=licence_file)


@app.command("import-hub", cls=Stage, rich_help_panel=TOPIC)
@grouped
def import_hub(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder that `release --hub` wrote.")],
    study: StudyOptions,
    threads: Threads = 1,
) -> None:
    """Put the models of a released folder under checkpoints/."""
    from samdiffsr.checkpoints.hub import take

    take(study.read(), folder, study.root)


@app.command("export-record", cls=Stage, rich_help_panel=TOPIC)
@grouped
def export_record(
    out: Annotated[Path, path("A new folder.")],
    study: StudyOptions,
    masks: Annotated[bool, typer.Option("--masks", help="Copy the region masks too.")] = False,
    licence: Annotated[
        str, typer.Option(metavar="URL", help="Licence of the record: an address or an SPDX identifier.")
    ] = "https://spdx.org/licenses/MIT",
    threads: Threads = 1,
) -> None:
    """Write a study as an RO-Crate, its masks described in Croissant."""
    from samdiffsr.checkpoints.record import export

    export(study.read(), out, study.root, masks=masks, licence=licence)


@app.command("track", cls=Stage, rich_help_panel=TOPIC)
def track(
    root: Root = Path(),
    drop: Annotated[bool, typer.Option("--drop", help="Remove what is absent from data.dvc.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Only compare data.dvc with data.files.")] = False,
    threads: Threads = 1,
) -> None:
    """Put data/ under DVC, unless a part of it is absent."""
    from samdiffsr.checkpoints.dvc import listing_problem, track

    if not check:
        track(root, drop=drop)
    elif problem := listing_problem(root):
        raise UserError(problem)
