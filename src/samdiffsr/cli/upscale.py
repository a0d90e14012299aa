"""The command for images of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from samdiffsr.cli.options import Device, path
from samdiffsr.cli.sampling import TOPIC
from samdiffsr.cli.stage import Stage

app = typer.Typer()


@app.command("upscale", cls=Stage, rich_help_panel=TOPIC)
def upscale(
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT...", help="Image files, folders of them.")],
    out: Annotated[str, typer.Option("--out", "-o", metavar="OUT", help="A file, or a folder/.")],
    checkpoint: Annotated[Path, typer.Option(metavar="RUN", help="Model file, or its folder in results/.")],
    encoder: Annotated[
        Path | None, path("Default: the one it was trained with, looked for beside it.")
    ] = None,
    weights: Annotated[Literal["ema", "raw"], typer.Option(help="Averaged, or of the last step.")] = "ema",
    steps: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Sampling steps; default: all.")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Of the noise.")] = 0,
    format: Annotated[
        Literal["png", "jpg", "tif", "webp", "bmp"] | None,
        typer.Option(help="Of files in a folder; default: png."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what is there; never an input.")
    ] = False,
    recursive: Annotated[
        bool, typer.Option("--recursive", help="Enter the folders in folders; links are not followed.")
    ] = False,
    pad: Annotated[
        int, typer.Option(min=0, metavar="N", help="LR pixels reflected around it; a study has 0.")
    ] = 1,
    memory: Annotated[int, typer.Option(min=1, metavar="MB", help="For the network's maps.")] = 550,
    device: Device = "auto",
    precision: Annotated[
        Literal["auto", "bf16", "float32"], typer.Option(help="Of the networks' arithmetic.")
    ] = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="CPU threads; default: all.")
    ] = None,
) -> None:
    """Enlarge images of your own by a trained model."""
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
