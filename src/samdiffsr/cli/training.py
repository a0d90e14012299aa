"""Commands that make models: train them, or convert others' files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from samdiffsr.cli.options import Device, Hr, Lr, Out, Plugins, RecipeText, Threads, grouped, path
from samdiffsr.cli.stage import Stage

if TYPE_CHECKING:
    from samdiffsr.training.job import Job
    from samdiffsr.training.recipe import Precision

TOPIC = "Models"
app = typer.Typer()

State = Annotated[Path, path("Folder of resume states.")]
Name = Annotated[str, typer.Option(metavar="NAME", help="Name of this training in messages.")]
Compile = Annotated[
    Literal["auto", "true", "false"],
    typer.Option(help="Use torch.compile; auto: in long trainings on a GPU."),
]
Processes = Annotated[
    int,
    typer.Option(min=0, metavar="N", help="Processes with a GPU each, which share each batch; 0: no GPU."),
]
CpuProcesses = Annotated[
    int,
    typer.Option(
        min=1,
        metavar="N",
        envvar="SAMDIFFSR_ENCODER_PROCESSES",
        help="Processes that share each batch and the threads where there is no GPU.",
    ),
]
Workers = Annotated[int, typer.Option(min=0, metavar="N", help="Threads that prepare patches; 0: none.")]
SaveEvery = Annotated[int, typer.Option(min=1, metavar="STEPS", help="Steps between two resume states.")]
SlowHours = Annotated[
    float,
    typer.Option(
        metavar="H", envvar="SAMDIFFSR_SLOW_HOURS", help="Refuse a training that would take more hours."
    ),
]
Watch = Annotated[
    str, typer.Option(metavar="JSON", envvar="SAMDIFFSR_WATCH", help="What to show while it trains.")
]
File = Annotated[Path, path("The file to convert.")]


@dataclass(frozen=True)
class Place:
    """Where a training runs."""

    compile: Compile = "auto"
    name: Name = "training"
    device: Device = "auto"
    processes: Processes = 1


@dataclass(frozen=True)
class Pace:
    """What a training takes and shows while it runs."""

    workers: Workers = 0
    save_every: SaveEvery = 500
    slow_hours: SlowHours = float("inf")
    watch: Watch = "{}"
    threads: Threads = 1


def _job(precision: Precision, state: Path, out: Path, place: Place, pace: Pace, code: str) -> Job:
    from samdiffsr.training.job import Job
    from samdiffsr.training.watching import WatchRecipe

    return Job(
        state=state,
        out=out,
        device=place.device,
        precision=precision,
        threads=pace.threads,
        workers=pace.workers,
        save_every=pace.save_every,
        slow_hours=pace.slow_hours,
        compile=place.compile,
        watch=WatchRecipe.parse(pace.watch, "--watch"),
        code=code,
    )


@app.command("train-encoder", cls=Stage, rich_help_panel=TOPIC)
@grouped
def train_encoder(
    *,
    hr: Hr,
    lr: Lr,
    state: State,
    out: Out,
    recipe: RecipeText,
    place: Place,
    cpu_processes: CpuProcesses = 1,
    pace: Pace,
) -> None:
    """Pretrain the RRDB encoder."""
    from samdiffsr.training.encoder import train_encoder
    from samdiffsr.training.recipe import EncoderRecipe
    from samdiffsr.workflow.fingerprint import training_fingerprint

    told = EncoderRecipe.parse(recipe)
    job = _job(told.precision, state, out, place, pace, training_fingerprint())
    train_encoder(job, told, hr, lr, place.name)


@app.command("train-denoiser", cls=Stage, rich_help_panel=TOPIC)
@grouped
def train_denoiser(
    *,
    hr: Hr,
    lr: Lr,
    encoder: Annotated[Path, path("The trained encoder.")],
    state: State,
    out: Out,
    recipe: RecipeText,
    labels: Annotated[Path | None, path("Store of regions.")] = None,
    values: Annotated[Path | None, path("The regions' values.")] = None,
    place: Place,
    pace: Pace,
) -> None:
    """Train a denoiser."""
    from samdiffsr.diffusion.toy import check
    from samdiffsr.training.denoiser import train_denoiser
    from samdiffsr.training.recipe import DenoiserRecipe
    from samdiffsr.workflow.fingerprint import training_fingerprint

    told = DenoiserRecipe.parse(recipe)
    check(told.formulation, told.region_features, **told.options)
    job = _job(told.precision, state, out, place, pace, training_fingerprint(told))
    train_denoiser(job, told, hr, lr, encoder, labels, values, place.name)


@app.command("check-formulation", cls=Stage, rich_help_panel=TOPIC)
def check_formulation(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The formulation, as in config.yaml.")],
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="An option of the formulation; may be repeated."),
    ] = None,
    features: Annotated[int, typer.Option(min=1, metavar="N", help="Numbers that each region has.")] = 1,
    plugin: Plugins = None,
    threads: Threads = 1,
) -> None:
    """Check that a formulation's samples have no undeclared bias."""
    from samdiffsr.cli.options import say
    from samdiffsr.core.errors import UserError
    from samdiffsr.core.plugins import load_plugins

    load_plugins(plugin or ())
    from samdiffsr.diffusion.registry import FORMULATIONS
    from samdiffsr.diffusion.toy import check

    options = {}
    for text in option or ():
        key, _, value = text.partition("=")
        try:
            options[key] = float(value)
        except ValueError:
            raise UserError(f"--option {text}: must be KEY=NUMBER") from None
    for finding in check(name, features, **options):
        say(f"{name}: {finding}")
    say(f"{name}: {FORMULATIONS[name].biased or 'unbiased'}, as declared")


@app.command("import-encoder", cls=Stage, rich_help_panel=TOPIC)
def import_encoder(file: File, out: Out, threads: Threads = 1) -> None:
    """Convert an RRDB encoder that others trained."""
    from samdiffsr.checkpoints.imports import import_encoder

    import_encoder(file, out)


@app.command("import-denoiser", cls=Stage, rich_help_panel=TOPIC)
def import_denoiser(
    file: File,
    encoder: Annotated[Path, path("The encoder that belongs to it, converted.")],
    out: Out,
    recipe: RecipeText,
    threads: Threads = 1,
) -> None:
    """Convert a denoiser that others trained."""
    from samdiffsr.checkpoints.imports import import_denoiser
    from samdiffsr.models.recipe import ImportRecipe

    import_denoiser(file, encoder, out, ImportRecipe.parse(recipe))
