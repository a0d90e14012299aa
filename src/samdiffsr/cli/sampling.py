"""Commands that restore a test set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from samdiffsr.cli.options import Device, Lr, RecipeText, Shard, Threads, path, paths
from samdiffsr.cli.stage import Stage

TOPIC = "Restored images"
app = typer.Typer()

CommandHours = Annotated[
    float,
    typer.Option(
        metavar="H",
        envvar="SAMDIFFSR_COMMAND_HOURS",
        help="Hours after which another method's program is killed.",
    ),
]
Manifest = Annotated[Path, path("Record of how each image was made.")]


@app.command("sample", cls=Stage, rich_help_panel=TOPIC)
def sample(
    lr: Lr,
    out: Annotated[Path, path("Folder of the restored images.")],
    manifest: Manifest,
    progress: Annotated[Path, path("Record of finished images, to resume from.")],
    recipe: RecipeText,
    encoder: Annotated[Path | None, path("Model file.")] = None,
    denoiser: Annotated[Path | None, path("Model file.")] = None,
    labels: Annotated[Path | None, path("Store of regions.")] = None,
    values: Annotated[Path | None, path("The regions' values.")] = None,
    source: Annotated[Path | None, path("Folder or file of another method.")] = None,
    command_hours: CommandHours = float("inf"),
    shard: Shard = "0/1",
    device: Device = "auto",
    threads: Threads = 1,
) -> None:
    """Restore the images of an LR store."""
    from samdiffsr.sampling.recipe import parse

    told = parse(recipe)

    from samdiffsr.models.model_file import open_model  # imports torch
    from samdiffsr.models.recipe import DenoiserNetwork
    from samdiffsr.sampling.restorers import restore_dataset
    from samdiffsr.workflow.fingerprint import sampling_fingerprint

    network = open_model(denoiser, "denoiser").network(DenoiserNetwork) if denoiser else None
    given = {"encoder": encoder, "denoiser": denoiser}
    restore_dataset(
        lr,
        out,
        manifest,
        progress,
        told,
        {kind: model for kind, model in given.items() if model is not None},
        labels=labels,
        values=values,
        source=source,
        command_hours=command_hours,
        shard=shard,
        device=device,
        threads=threads,
        code=sampling_fingerprint(network),
    )


@app.command("samples-merge", cls=Stage, rich_help_panel=TOPIC)
def samples_merge(
    manifest: Manifest, parts: Annotated[list[Path], paths("The parts, in order.")], threads: Threads = 1
) -> None:
    """Join the manifests of an LR store's parts."""
    from samdiffsr.sampling.sample_set import merge_samples

    merge_samples(parts, manifest)
