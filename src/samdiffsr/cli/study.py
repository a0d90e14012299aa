"""Commands about a study as a whole: what it needs, what it costs, what of it is released."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from samdiffsr.cli.options import (
    ConfigFile,
    Device,
    Mirror,
    Out,
    Overlays,
    RecipeText,
    Root,
    Settings,
    StudyName,
    Threads,
    path,
    say,
)
from samdiffsr.cli.stage import Stage
from samdiffsr.core.errors import UserError

TOPIC = "A study"
CONFIG = Path("config.yaml")
app = typer.Typer()


@app.command("doctor", cls=Stage, rich_help_panel=TOPIC)
def doctor(
    config: ConfigFile = CONFIG,
    configfile: Overlays = None,
    study: StudyName = None,
    mirror: Mirror = None,
    settings: Settings = None,
    root: Root = Path(),
    deep: Annotated[bool, typer.Option("--deep", help="Decode and hash every file.")] = False,
    threads: Threads = 1,
) -> None:
    """Say what the study needs, what is missing and how to get it."""
    from samdiffsr.config.overlays import configured
    from samdiffsr.workflow.configuration import Call
    from samdiffsr.workflow.doctor import examine, healthy, remove_leftovers, report

    for left in remove_leftovers(root):
        say(f"removed {left}: a killed process left it")
    chosen = configured(config, configfile, settings, study=study, mirror=mirror)
    call = Call.of(chosen, _files(config, configfile), settings or ())
    findings = examine(chosen, root, deep=deep, call=call)
    say(report(findings))
    if not healthy(findings):
        raise typer.Exit(1)


@app.command("plan", cls=Stage, rich_help_panel=TOPIC)
def plan(
    targets: Annotated[list[str] | None, typer.Argument(metavar="[TARGET]...", help="Default: all.")] = None,
    config: ConfigFile = CONFIG,
    configfile: Overlays = None,
    study: StudyName = None,
    mirror: Mirror = None,
    settings: Settings = None,
    root: Root = Path(),
    threads: Threads = 1,
) -> None:
    """Say what a target will cost on this machine."""
    from samdiffsr.config.overlays import configured
    from samdiffsr.workflow.availability import with_present_test_sets
    from samdiffsr.workflow.configuration import Call
    from samdiffsr.workflow.plan import plan

    chosen = configured(config, configfile, settings, study=study, mirror=mirror)
    chosen = with_present_test_sets(chosen, root)
    call = Call.of(chosen, _files(config, configfile), settings or ())
    for line in plan(chosen, targets or ["all"], call.options(), root):
        say(line)


def _files(config: Path, overlays: list[Path] | None) -> list[str]:
    """What is laid over the repository's config.yaml."""
    return [str(path) for path in [config, *(overlays or ())] if path != CONFIG]


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
def release(
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RUN]...", help="A run, e.g. sam_diffsr-x4-s0, or a table for its runs."),
    ] = None,
    config: ConfigFile = CONFIG,
    configfile: Overlays = None,
    study: StudyName = None,
    mirror: Mirror = None,
    settings: Settings = None,
    root: Root = Path(),
    every: Annotated[bool, typer.Option("--all", help="Every run of the study's tables.")] = False,
    no_dvc: Annotated[bool, typer.Option("--no-dvc", help="Copy without DVC.")] = False,
    remote: Annotated[
        str | None, typer.Option(metavar="NAME", help="DVC remote for them; default: the clone's.")
    ] = None,
    hub: Annotated[
        Path | None, path("Instead, a folder as the Hugging Face hub has it; several runs: one in it each.")
    ] = None,
    half: Annotated[bool, typer.Option("--half", help="Of --hub: store weights in 16 bits.")] = False,
    licence: Annotated[str, typer.Option(metavar="ID", help="Of --hub: the weights' licence.")] = "mit",
    licence_file: Annotated[Path | None, path("Its text; default: the repository's LICENSE.")] = None,
    threads: Threads = 1,
) -> None:
    """Copy trained models to checkpoints/ and put them under DVC."""
    from samdiffsr.checkpoints.dvc import release, runs_named
    from samdiffsr.checkpoints.hub import write
    from samdiffsr.config.overlays import configured

    if not runs and not every:
        raise UserError("name the runs to release, e.g. sam_diffsr-x4-s0, or a table, or give --all")
    chosen = configured(config, configfile, settings, study=study, mirror=mirror)
    if hub is None:
        release(chosen, runs or [], root, dvc=not no_dvc, remote=remote)
        return
    found = {run.name: run for name in runs or chosen.tables for run in runs_named(chosen, name)}
    for name, run in found.items():
        place = hub if len(found) == 1 else hub / name
        write(chosen, run, place, root, half=half, licence=licence, licence_file=licence_file)


@app.command("import-hub", cls=Stage, rich_help_panel=TOPIC)
def import_hub(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="That `release --hub` wrote.")],
    config: ConfigFile = CONFIG,
    configfile: Overlays = None,
    study: StudyName = None,
    mirror: Mirror = None,
    settings: Settings = None,
    root: Root = Path(),
    threads: Threads = 1,
) -> None:
    """Put the models of a released folder under checkpoints/."""
    from samdiffsr.checkpoints.hub import take
    from samdiffsr.config.overlays import configured

    take(configured(config, configfile, settings, study=study, mirror=mirror), folder, root)


@app.command("export-record", cls=Stage, rich_help_panel=TOPIC)
def export_record(
    out: Annotated[Path, path("A new folder.")],
    config: ConfigFile = CONFIG,
    configfile: Overlays = None,
    study: StudyName = None,
    mirror: Mirror = None,
    settings: Settings = None,
    root: Root = Path(),
    masks: Annotated[bool, typer.Option("--masks", help="With the region masks themselves.")] = False,
    licence: Annotated[
        str, typer.Option(metavar="URL", help="Of the record: an address, or an SPDX identifier.")
    ] = "https://spdx.org/licenses/MIT",
    threads: Threads = 1,
) -> None:
    """Write a study as an RO-Crate, its masks described in Croissant."""
    from samdiffsr.checkpoints.record import export
    from samdiffsr.config.overlays import configured

    chosen = configured(config, configfile, settings, study=study, mirror=mirror)
    export(chosen, out, root, masks=masks, licence=licence)


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
