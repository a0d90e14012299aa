"""Commands about masks: segment, merge, exchange, describe, encode."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from samdiffsr.cli.options import Device, Labels, Out, RecipeText, Shard, Threads, path, paths
from samdiffsr.cli.stage import Stage

TOPIC = "Masks"
app = typer.Typer()


@app.command("segment", cls=Stage, rich_help_panel=TOPIC)
def segment(
    source: Annotated[Path, path("Store of the images.")],
    out: Out,
    recipe: RecipeText,
    shard: Shard = "0/1",
    scale: Annotated[int, typer.Option(metavar="N", help="Scale factor of an LR store.")] = 1,
    device: Device = "auto",
    weights: Annotated[Path | None, path("Folder of weight files (SAM, MobileSAM).")] = None,
    root: Annotated[Path | None, path("Folder that holds BSDS500 (ucm, human).")] = None,
    regions: Annotated[Path | None, path("Store of the same images' regions (placebo).")] = None,
    state: Annotated[Path | None, path("Folder of finished images, to resume from.")] = None,
    threads: Threads = 1,
) -> None:
    """Find the regions of a store's images."""
    from samdiffsr.masks.recipe import MaskRecipe
    from samdiffsr.masks.segment import segment
    from samdiffsr.masks.segmenters.registry import SEGMENTERS, Places
    from samdiffsr.workflow.fingerprint import fingerprint

    told = MaskRecipe.parse(recipe)
    segment(
        source,
        out,
        told,
        scale=scale if told.image == "lr" else 1,
        shard=shard,
        places=Places(weights, root, device, regions),
        state=state,
        code=fingerprint("samdiffsr.masks.segment", SEGMENTERS[told.segmenter.kind].module),
    )


@app.command("masks-merge", cls=Stage, rich_help_panel=TOPIC)
def masks_merge(
    out: Out, shards: Annotated[list[Path], paths("The parts, in order.")], threads: Threads = 1
) -> None:
    """Join the parts of a region store."""
    from samdiffsr.masks.store import merge_shards

    merge_shards(shards, out)


@app.command("masks-export", cls=Stage, rich_help_panel=TOPIC)
def masks_export(labels: Labels, out: Out, threads: Threads = 1) -> None:
    """Write masks as COCO run lengths, one JSON for each image."""
    from samdiffsr.masks.segment import export_masks

    export_masks(labels, out)


@app.command("masks-import", cls=Stage, rich_help_panel=TOPIC)
def masks_import(
    folder: Annotated[Path, path("Folder of the JSON files.")],
    source: Annotated[Path, path("Store of the images.")],
    out: Out,
    scale: Annotated[
        int, typer.Option(metavar="N", help="Scale factor, of masks that were made on an LR store.")
    ] = 1,
    threads: Threads = 1,
) -> None:
    """Read masks from COCO run lengths, one JSON for each image."""
    from samdiffsr.masks.recipe import MaskRecipe
    from samdiffsr.masks.segment import segment
    from samdiffsr.masks.segmenters.registry import Imported

    told = MaskRecipe(image="lr" if scale > 1 else "hr", segmenter=Imported(folder=str(folder)))
    segment(source, out, told, scale=scale)


@app.command("masks-statistics", cls=Stage, rich_help_panel=TOPIC)
def masks_statistics(
    labels: Labels,
    out: Annotated[Path, path("CSV with a row for each image.")],
    summary: Annotated[Path, path("CSV of the store as a whole.")],
    recipe: RecipeText,
    root: Annotated[Path | None, path("Folder that holds BSDS500's annotators.")] = None,
    threads: Threads = 1,
) -> None:
    """Describe a region store."""
    from samdiffsr.masks.recipe import StatisticsRecipe
    from samdiffsr.masks.statistics import mask_statistics

    told = StatisticsRecipe.parse(recipe)
    mask_statistics(labels, out, summary, told, humans=root)


@app.command("masks-gather", cls=Stage, rich_help_panel=TOPIC)
def masks_gather(
    out: Out, parts: Annotated[list[Path], paths("Summaries, in order.")], threads: Threads = 1
) -> None:
    """Join the statistics of several region stores."""
    from samdiffsr.masks.statistics import gather_statistics

    gather_statistics(parts, out)


@app.command("encode", cls=Stage, rich_help_panel=TOPIC)
def encode(
    labels: Labels,
    out: Out,
    recipe: RecipeText,
    images: Annotated[Path | None, path("Store of the HR images, where a feature needs them.")] = None,
    threads: Threads = 1,
) -> None:
    """Give every region its value (paper equation 6)."""
    from samdiffsr.masks.encode import encode
    from samdiffsr.masks.recipe import Encoding

    encode(labels, out, Encoding.parse(recipe), images)
