"""Commands about images: fetch and verify them, pack them into stores, find leaks between sets."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from samdiffsr.cli.options import (
    Hr,
    Out,
    RecipeText,
    Root,
    StudyOptions,
    Threads,
    grouped,
    named,
    path,
    say,
)
from samdiffsr.cli.stage import Stage
from samdiffsr.core.errors import UserError

TOPIC = "Images"
app = typer.Typer()


@app.command("demo-data", cls=Stage, rich_help_panel=TOPIC)
def demo_data(out: Out, threads: Threads = 1) -> None:
    """Write the demo photographs."""
    from samdiffsr.data.demo import make_demo

    make_demo(out)


@app.command("fetch", cls=Stage, rich_help_panel=TOPIC)
@grouped
def fetch(
    *,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Image sets and weights; default: what the study needs."),
    ] = None,
    study: StudyOptions,
    row: Annotated[
        str | None, typer.Option(metavar="JSON", help="A weight file that config.yaml declares.")
    ] = None,
    threads: Threads = 1,
) -> None:
    """Fetch image sets and weights."""
    from samdiffsr.evaluation.named import WeightRow
    from samdiffsr.workflow.availability import needed_sources, needed_weights

    if row is not None:
        WeightRow.model_validate_json(row).declare()
    wanted, mirror = list(names or ()), study.mirror
    if not names or study.study:
        chosen = study.read()
        wanted += [source.key for source in needed_sources(chosen)] + needed_weights(chosen)
        mirror = mirror or chosen.mirror
    _fetch_all(wanted, study.root, mirror or os.environ.get("SAMDIFFSR_MIRROR"))


def _fetch_all(names: Sequence[str], root: Path, mirror: str | None) -> None:
    """Fetch each; one that fails does not stop the others."""
    from samdiffsr.core.layout import DATA, WEIGHTS
    from samdiffsr.data.catalogue import sources, weights
    from samdiffsr.data.fetch import check_disk, fetch_source, fetch_weights

    for name in names:
        if name not in sources() and name not in weights():
            raise UserError(f"nothing is called {name!r}; known are {', '.join([*sources(), *weights()])}")
    absent = [sources()[n] for n in names if n in sources() and not (root / sources()[n].stamp).exists()]
    check_disk(sum(source.disk for source in absent), root / DATA, ", ".join(names))
    failures = []
    for name in dict.fromkeys(names):
        try:
            if name in sources():
                fetch_source(sources()[name], root, mirror)
            else:
                fetch_weights(weights()[name], root / WEIGHTS, mirror)
        except UserError as error:
            failures.append(str(error))
    if len(failures) > 1:
        for failure in failures:
            say(f"failed: {failure}")
        raise UserError(f"{len(failures)} of {len(set(names))} could not be fetched; see above")
    if failures:
        raise UserError(failures[0])


@app.command("verify", cls=Stage, rich_help_panel=TOPIC)
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Image sets; default: all that are there.")
    ] = None,
    root: Root = Path(),
    write: Annotated[
        Path | None, typer.Option(metavar="CSV", help="Write the manifest of what was found.")
    ] = None,
    threads: Threads = 1,
) -> None:
    """Compare what was fetched with the manifests."""
    from samdiffsr.data.catalogue import source, sources, weights
    from samdiffsr.data.manifest import write_manifest
    from samdiffsr.data.verify import taken_files, verify_source
    from samdiffsr.data.weights import MissingWeights
    from samdiffsr.data.weights import verify as verify_weights

    for name in names or [s.key for s in sources().values() if taken_files(s, root / s.folder)]:
        if name in weights():
            say(f"{name}: {verify_weights(name, root / 'weights').path} is right")
            continue
        row = source(name)
        found = verify_source(row, root / row.folder)
        how = (
            "every one as its manifest says" if found.against == "manifest" else "counted; it has no manifest"
        )
        say(f"{name}: {len(found.entries)} files, {how}")
        if write is not None:
            write_manifest(write, found.entries)
    if not names:
        for name in weights():
            try:
                say(f"{name}: {verify_weights(name, root / 'weights').path} is right")
            except MissingWeights:
                continue


@app.command("prepare-hr", cls=Stage, rich_help_panel=TOPIC)
def prepare_hr(
    out: Out,
    folder: Annotated[Path | None, path("One folder of images.")] = None,
    recipe: Annotated[
        str | None,
        typer.Option(metavar="JSON", help="Several folders, names left out; compared with manifests."),
    ] = None,
    threads: Threads = 1,
) -> None:
    """Pack a folder of images into an HR store."""
    from samdiffsr.data.manifest import expected_images
    from samdiffsr.data.prepare import build_empty_store, build_hr_store
    from samdiffsr.data.recipe import HrRecipe

    if (folder is None) == (recipe is None):
        raise typer.BadParameter("give one of the two", param_hint=["--folder", "--recipe"])
    if folder is not None:
        build_hr_store([folder], out)
        return
    told = HrRecipe.parse(recipe or "")
    if told.reference == "none":
        build_empty_store(out)
        return
    expected = expected_images(told.folder, told.exclude)
    build_hr_store(told.folder, out, exclude=told.exclude, expected=expected)


@app.command("prepare-lr", cls=Stage, rich_help_panel=TOPIC)
def prepare_lr(hr: Hr, out: Out, recipe: RecipeText, threads: Threads = 1) -> None:
    """Make an LR store from an HR store, or from given LR images."""
    from samdiffsr.data.prepare import build_degraded_store, build_lr_store, pack_lr_store
    from samdiffsr.data.recipe import LrRecipe

    told = LrRecipe.parse(recipe)
    if told.folder:
        truth = told.reference == "hr"
        pack_lr_store(told.folder, hr, out, told.scale, exclude=told.exclude, truth=truth)
    elif told.degradation is not None:
        build_degraded_store(hr, out, told.scale, told.degradation)
    else:
        build_lr_store(hr, out, told.scale, rounding=told.rounding)


@app.command("export", cls=Stage, rich_help_panel=TOPIC)
def export(
    store: Annotated[Path, typer.Argument(metavar="STORE", help="The store, e.g. work/stores/set5/lr-x4.")],
    out: Out,
    threads: Threads = 1,
) -> None:
    """Write a store's images as PNG files, for other programs."""
    from samdiffsr.data.export import export_store

    export_store(store, out)


@app.command("overlap", cls=Stage, rich_help_panel=TOPIC)
def overlap(
    out: Out,
    train: Annotated[Any, typer.Option(parser=named, metavar="NAME=STORE", help="The training set.")],
    test: Annotated[list[Any], typer.Option(parser=named, metavar="NAME=STORE...", help="The test sets.")],
    recipe: Annotated[
        str | None, typer.Option(metavar="JSON", help="Images that training leaves out.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Folder that keeps what was found.")
    ] = None,
    scores: Annotated[
        list[str] | None,
        typer.Option(
            metavar="JSON...", help="How images are scored: each must be large enough, each metric whole."
        ),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Folder of the metrics' networks.")
    ] = None,
    threads: Threads = 1,
) -> None:
    """Find photographs that sets share, and test images that are too small."""
    from samdiffsr.data.overlap import Found, check_split
    from samdiffsr.data.recipe import HrRecipe
    from samdiffsr.data.store import Store
    from samdiffsr.evaluation.fits import too_small, try_named
    from samdiffsr.evaluation.recipe import ScoreRecipe
    from samdiffsr.workflow.fingerprint import fingerprint

    scorings = [ScoreRecipe.parse(text) for text in scores or ()]
    try_named(scorings, weights)
    for name, place in test:
        store = Store(place)
        sizes = [(image, store.shape(i)[0], store.shape(i)[1]) for i, image in enumerate(store.names)]
        for scoring in scorings:
            if why := too_small(sizes, scoring):
                raise UserError(f"test set {name}: {why}")
    told = HrRecipe(folder=()) if recipe is None else HrRecipe.parse(recipe)
    found = Found(cache, fingerprint("samdiffsr.data.overlap"))
    check_split(out, train, test, [Path(f) for f in told.folder], told.exclude, found)
