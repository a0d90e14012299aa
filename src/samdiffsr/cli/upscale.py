"""The command for images of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from samdiffsr.cli.options import Device, Plugins, path
from samdiffsr.cli.sampling import TOPIC
from samdiffsr.cli.stage import Stage

app = typer.Typer()


@app.command("upscale", cls=Stage, rich_help_panel=TOPIC)
def upscale(
    inputs: Annotated[
        list[Path], typer.Argument(metavar="INPUT...", help="Image files, or folders of them.")
    ],
    out: Annotated[str, typer.Option("--out", "-o", metavar="OUT", help="A file, or a folder/.")],
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN", help="Model file, or the folder of a run; default: the repository's own network."
        ),
    ] = None,
    encoder: Annotated[Path | None, path("Its encoder; default: looked for beside it.")] = None,
    weights: Annotated[
        Literal["ema", "raw"], typer.Option(help="Averaged weights, or those of the last step.")
    ] = "ema",
    steps: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Sampling steps; default: all.")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the noise.")] = 0,
    format: Annotated[
        Literal["png", "jpg", "tif", "webp", "bmp"] | None,
        typer.Option(help="Format of files in a folder; default: png."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what is there; never an input.")
    ] = False,
    recursive: Annotated[
        bool, typer.Option("--recursive", help="Enter folders inside folders; links are not followed.")
    ] = False,
    pad: Annotated[int, typer.Option(min=0, metavar="N", help="LR pixels reflected around the image.")] = 1,
    memory: Annotated[
        int, typer.Option(min=1, metavar="MB", help="Memory for the network's feature maps.")
    ] = 550,
    plugin: Plugins = None,
    device: Device = "auto",
    precision: Annotated[
        Literal["auto", "bf16", "float32"], typer.Option(help="Arithmetic of the networks.")
    ] = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="CPU threads; default: all.")
    ] = None,
) -> None:
    """Enlarge images of your own with a trained model."""
    from samdiffsr.core.plugins import load_plugins

    load_plugins(plugin or ())
    from samdiffsr.sampling.upscale.command import upscale_images

    upscale_images(
        inputs,
        out,
        checkpoint,
        encoder=encoder,
        weights=weights,
        steps=steps,
        seed=seed,
        suffix=f".{format}" if format else None,
        overwrite=overwrite,
        recursive=recursive,
        pad=pad,
        memory=memory,
        device=device,
        precision=precision,
        threads=threads,
    )
