"""Commands that score restored images, and that measure what a run costs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from samdiffsr.cli.options import (
    Dataset,
    Device,
    Hr,
    Lr,
    Out,
    Run,
    Sampled,
    Threads,
    device_of,
    grouped,
    path,
    paths,
)
from samdiffsr.cli.stage import Stage

TOPIC = "Scores"
app = typer.Typer()


@app.command("score", cls=Stage, rich_help_panel=TOPIC)
@grouped
def score(
    hr: Hr,
    lr: Lr,
    out: Out,
    of: Sampled,
    weights: Annotated[Path | None, path("Folder of the metrics' weight files.")] = None,
    device: Device = "cpu",
    threads: Threads = 1,
) -> None:
    """Score restored images against their truth."""
    from samdiffsr.evaluation.recipe import ScoreRecipe
    from samdiffsr.evaluation.stages import score

    where = device_of(device) if weights else "cpu"
    score(of.run, of.dataset, of.manifests, hr, lr, out, ScoreRecipe.parse(of.recipe), weights, device=where)


@app.command("score-sets", cls=Stage, rich_help_panel=TOPIC)
@grouped
def score_sets(
    hr: Hr,
    out: Out,
    cache: Annotated[Path, path("Folder that keeps what was computed for the truth.")],
    weights: Annotated[Path, path("Folder of the metrics' weight files.")],
    of: Sampled,
    device: Device = "cpu",
    threads: Threads = 1,
) -> None:
    """FID and KID of restored images against their truth."""
    from samdiffsr.evaluation.recipe import SetScoreRecipe
    from samdiffsr.evaluation.set import score_sets
    from samdiffsr.workflow.fingerprint import features_fingerprint

    told = SetScoreRecipe.parse(of.recipe)
    where, code = device_of(device), features_fingerprint()
    score_sets(of.run, of.dataset, of.manifests, hr, out, told, cache, weights, device=where, code=code)


@app.command("score-protocols", cls=Stage, rich_help_panel=TOPIC)
@grouped
def score_protocols(hr: Hr, out: Out, of: Sampled, threads: Threads = 1) -> None:
    """Score restored images under several protocols."""
    from samdiffsr.evaluation.recipe import ProtocolRecipe
    from samdiffsr.evaluation.stages import score_protocols

    score_protocols(of.run, of.dataset, of.manifests, hr, out, ProtocolRecipe.parse(of.recipe))


@app.command("score-samples", cls=Stage, rich_help_panel=TOPIC)
@grouped
def score_samples(hr: Hr, out: Out, of: Sampled, threads: Threads = 1) -> None:
    """Split the error of several samples into noise and the rest."""
    from samdiffsr.evaluation.recipe import SamplesRecipe
    from samdiffsr.evaluation.samples import score_samples

    score_samples(of.run, of.dataset, of.manifests, hr, out, SamplesRecipe.parse(of.recipe))


@app.command("cost", cls=Stage, rich_help_panel=TOPIC)
def cost(
    out: Out,
    samples: Annotated[list[Path], paths("Timing records of the sampling.")],
    run: Run,
    dataset: Dataset,
    encoder: Annotated[Path | None, path("Model file.")] = None,
    denoiser: Annotated[Path | None, path("Model file.")] = None,
    training: Annotated[Path | None, path("Timing record of the training.")] = None,
    threads: Threads = 1,
) -> None:
    """Parameters, times and memory of a run."""
    from samdiffsr.evaluation.cost import cost

    cost(run, dataset, out, samples, encoder, denoiser, training)
