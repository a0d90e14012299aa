"""The command line: one sub-command a stage. The workflow calls nothing else, and neither need a person.

Each handler imports its stage when it is called, so `--help` and mistakes answer at once.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from samdiffsr import __version__
from samdiffsr.core.errors import UserError
from samdiffsr.core.files import explained, parse_json
from samdiffsr.core.gpus import become_several, take_gpus


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one stage; a UserError becomes one line on stderr and exit status 1."""
    parser = _parser()
    args = parser.parse_args(arguments)
    if getattr(args, "threads", None) is not None:
        os.environ["OMP_NUM_THREADS"] = str(args.threads)  # read when numpy and torch are imported
    if getattr(args, "device", "cpu") != "cpu":
        take_gpus(getattr(args, "processes", 1) or 1)
    become_several(getattr(args, "processes", 1), sys.argv[1:] if arguments is None else arguments)
    try:
        args.handler(args)
    except UserError as error:
        if args.debug:
            raise
        _fail(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        path = error.filename2 or error.filename
        if args.debug or path is None or error.strerror is None:  # not the machine's state but a defect
            raise
        _fail(explained(error, path))


def _fail(line: str) -> NoReturn:
    print(f"samdiffsr: error: {' '.join(line.split())}", file=sys.stderr, flush=True)
    sys.exit(1)


def _say(line: str) -> None:
    print(line, flush=True)


# ---- argument types ----


def _json(text: str) -> dict[str, Any]:
    try:
        value = parse_json(text, "--recipe")
    except json.JSONDecodeError as error:
        raise argparse.ArgumentTypeError(f"not valid JSON ({error})") from None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError("must be a JSON object")
    return value


def _shard(text: str) -> tuple[int, int]:
    try:
        part, parts = (int(x) for x in text.split("/"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: must be PART/PARTS, e.g. 0/4") from None
    if not 0 <= part < parts:
        raise argparse.ArgumentTypeError(f"{text!r}: PART must be 0 to {parts - 1}")
    return part, parts


def _whole(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r}: must be a whole number")
    return int(text)


def _count(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a whole number > 0")
    return int(text)


def _named(text: str) -> tuple[str, Path]:
    name, sign, path = text.partition("=")
    if not sign:
        raise argparse.ArgumentTypeError(f"{text!r}: must be NAME=PATH")
    return name, Path(path)


# ---- handlers ----


def _demo_data(args: argparse.Namespace) -> None:
    from samdiffsr.data.demo import make_demo

    make_demo(args.out)


def _study_config(args: argparse.Namespace) -> Any:
    """config.yaml with the options that the data commands share laid over it."""
    import yaml

    from samdiffsr.config.load import load_config, read_mapping

    value = read_mapping(args.config)
    for path in args.overlay or ():
        value = _merged(value, read_mapping(path))
    options = {"study": args.study, "mirror": args.mirror}
    value |= {key: option for key, option in options.items() if option is not None}
    for text in args.set or ():
        key, sign, option = text.partition("=")
        if not sign:
            raise UserError(f"--set {text}: must be KEY=VALUE")
        value[key] = yaml.safe_load(option)
    return load_config(value)


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Mappings merged key by key, as Snakemake does with --configfile."""
    both = dict(below)
    for key, value in above.items():
        mappings = isinstance(value, dict) and isinstance(both.get(key), dict)
        both[key] = _merged(both[key], value) if mappings else value
    return both


def _fetch(args: argparse.Namespace) -> None:
    from samdiffsr.data.catalogue import sources, weights
    from samdiffsr.data.fetch import check_disk, fetch_source, fetch_weights
    from samdiffsr.workflow.availability import needed_sources, needed_weights

    config = None
    if not args.names or args.study:
        config = _study_config(args)
    names = list(args.names)
    if config is not None:
        names += [source.key for source in needed_sources(config)] + needed_weights(config)
    mirror = args.mirror or (config and config.mirror) or os.environ.get("SAMDIFFSR_MIRROR")
    for name in names:
        if name not in sources() and name not in weights():
            raise UserError(f"nothing is called {name!r}; known are {', '.join([*sources(), *weights()])}")
    root = args.root
    absent = [sources()[n] for n in names if n in sources() and not (root / sources()[n].stamp).exists()]
    check_disk(sum(source.disk for source in absent), root / "data", ", ".join(names))
    failures = []
    for name in dict.fromkeys(names):  # one that fails does not stop the others
        try:
            if name in sources():
                fetch_source(sources()[name], root, mirror, say=_say)
            else:
                fetch_weights(weights()[name], root / "weights", mirror, say=_say)
        except UserError as error:
            failures.append(str(error))
    if len(failures) > 1:
        for failure in failures:
            _say(f"failed: {failure}")
        raise UserError(f"{len(failures)} of {len(set(names))} could not be fetched; see above")
    if failures:
        raise UserError(failures[0])


def _verify(args: argparse.Namespace) -> None:
    from samdiffsr.data.catalogue import source, sources, weights
    from samdiffsr.data.manifest import write_manifest
    from samdiffsr.data.verify import taken_files, verify_source
    from samdiffsr.data.weights import MissingWeights
    from samdiffsr.data.weights import verify as verify_weights

    root = args.root
    names = args.names or [s.key for s in sources().values() if taken_files(s, root / s.folder)]
    for name in names:
        if name in weights():
            _say(f"{name}: {verify_weights(name, root / 'weights').path} is right")
            continue
        row = source(name)
        found = verify_source(row, root / row.folder, say=_say)
        how = (
            "every one as its manifest says" if found.against == "manifest" else "counted; it has no manifest"
        )
        _say(f"{name}: {len(found.entries)} files, {how}")
        if args.write is not None:
            write_manifest(args.write, found.entries)
    if not args.names:
        for name in weights():
            try:
                _say(f"{name}: {verify_weights(name, root / 'weights').path} is right")
            except MissingWeights:
                continue


def _release(args: argparse.Namespace) -> None:
    from samdiffsr.checkpoints.dvc import release

    if not args.runs and not args.all:
        raise UserError("name the runs to release, e.g. sam_diffsr-x4-s0, or a table, or give --all")
    release(_study_config(args), args.runs, args.root, dvc=not args.no_dvc, remote=args.remote, say=_say)


def _track(args: argparse.Namespace) -> None:
    from samdiffsr.checkpoints.dvc import listing_problem, track

    if args.check:
        if problem := listing_problem(args.root):
            raise UserError(problem)
        return
    track(args.root, drop=args.drop, say=_say)


def _doctor(args: argparse.Namespace) -> None:
    from samdiffsr.workflow.doctor import examine, healthy, report

    findings = examine(_study_config(args), args.root, deep=args.deep)
    _say(report(findings))
    if not healthy(findings):
        sys.exit(1)


def _calibrate(args: argparse.Namespace) -> None:
    from samdiffsr.workflow.calibration import calibrate

    calibrate(args.recipe, args.out, args.device, args.threads)


def _plan(args: argparse.Namespace) -> None:
    from samdiffsr.workflow.availability import with_present_test_sets
    from samdiffsr.workflow.plan import plan

    config = with_present_test_sets(_study_config(args), args.root)
    options = ["--configfile", *map(str, [args.config, *args.overlay])] if args.overlay else []
    settings = [f"study={config.study}", *(args.set or ())]
    settings += [f"mirror={config.mirror}"] if config.mirror else []
    for line in plan(config, args.targets, [*options, "--config", *settings], args.root, _say):
        _say(line)


def _prepare_hr(args: argparse.Namespace) -> None:
    from samdiffsr.data.manifest import expected_images
    from samdiffsr.data.prepare import build_hr_store
    from samdiffsr.data.recipe import HrRecipe

    if args.recipe is None:
        build_hr_store([args.folder], args.out)
        return
    recipe = HrRecipe.parse(args.recipe)
    expected = expected_images(recipe.folder, recipe.exclude)
    build_hr_store(recipe.folder, args.out, exclude=recipe.exclude, expected=expected)


def _prepare_lr(args: argparse.Namespace) -> None:
    from samdiffsr.data.prepare import build_lr_store
    from samdiffsr.data.recipe import LrRecipe

    recipe = LrRecipe.parse(args.recipe)
    build_lr_store(args.hr, args.out, recipe.scale, rounding=recipe.rounding)


def _export(args: argparse.Namespace) -> None:
    from samdiffsr.data.export import export_store

    export_store(args.store, args.out)


def _overlap(args: argparse.Namespace) -> None:
    from samdiffsr.data.overlap import check_split
    from samdiffsr.data.recipe import HrRecipe

    recipe = HrRecipe(folder=()) if args.recipe is None else HrRecipe.parse(args.recipe)
    check_split(args.out, args.train, args.test, [Path(f) for f in recipe.folder], recipe.exclude, _say)


def _segment(args: argparse.Namespace) -> None:
    from samdiffsr.core.progress import progress_bar
    from samdiffsr.masks.segment import segment
    from samdiffsr.masks.segmenters.kinds import segmenter_module
    from samdiffsr.workflow.fingerprint import fingerprint

    on, spec = args.recipe["image"], args.recipe["segmenter"]
    with progress_bar(f"masks {args.out.name}") as progress:
        segment(
            args.source,
            args.out,
            spec,
            on=on,
            scale=args.scale if on == "lr" else 1,
            shard=args.shard,
            places={
                "weights": None if args.weights is None else str(args.weights),
                "root": None if args.root is None else str(args.root),
                "device": args.device,
            },
            state=args.state,
            code=fingerprint("samdiffsr.masks.segment", segmenter_module(spec.get("kind"))),
            progress=progress,
        )


def _masks_merge(args: argparse.Namespace) -> None:
    from samdiffsr.masks.store import merge_shards

    merge_shards(args.shards, args.out)


def _masks_export(args: argparse.Namespace) -> None:
    from samdiffsr.core.progress import progress_bar
    from samdiffsr.masks.segment import export_masks

    with progress_bar("export") as progress:
        export_masks(args.labels, args.out, progress=progress)


def _masks_import(args: argparse.Namespace) -> None:
    from samdiffsr.core.progress import progress_bar
    from samdiffsr.masks.segment import segment

    spec = {"kind": "imported", "folder": str(args.folder)}
    with progress_bar("import") as progress:
        on = "lr" if args.scale > 1 else "hr"
        segment(args.source, args.out, spec, on=on, scale=args.scale, progress=progress)


def _masks_statistics(args: argparse.Namespace) -> None:
    from samdiffsr.core.progress import progress_bar
    from samdiffsr.masks.statistics import mask_statistics

    with progress_bar("statistics") as progress:
        mask_statistics(args.labels, args.out, args.summary, args.recipe, humans=args.root, progress=progress)


def _masks_gather(args: argparse.Namespace) -> None:
    from samdiffsr.masks.statistics import gather_statistics

    gather_statistics(args.parts, args.out)


def _encode(args: argparse.Namespace) -> None:
    from samdiffsr.masks.encode import encode

    encode(args.labels, args.out, args.recipe)


def _job(args: argparse.Namespace) -> Any:
    from samdiffsr.training.trainer import Job

    return Job(
        state=args.state,
        out=args.out,
        device=args.device,
        precision=args.recipe["precision"],
        threads=args.threads,
        workers=args.workers,
        save_every=args.save_every,
        slow_hours=args.slow_hours,
        compile=args.compile,
    )


def _train_encoder(args: argparse.Namespace) -> None:
    from samdiffsr.training.encoder import train_encoder

    train_encoder(_job(args), args.recipe, args.hr, args.lr, args.name)


def _train_denoiser(args: argparse.Namespace) -> None:
    from samdiffsr.training.denoiser import train_denoiser

    train_denoiser(
        _job(args), args.recipe, args.hr, args.lr, args.encoder, args.labels, args.values, args.name
    )


def _import_encoder(args: argparse.Namespace) -> None:
    from samdiffsr.checkpoints.imports import import_encoder

    import_encoder(args.file, args.out)


def _import_denoiser(args: argparse.Namespace) -> None:
    from samdiffsr.checkpoints.imports import import_denoiser

    import_denoiser(args.file, args.encoder, args.out, args.recipe, _say)


def _sample(args: argparse.Namespace) -> None:
    from samdiffsr.sampling.restorers import restore_dataset

    baseline = None
    if args.recipe["kind"] == "baseline":
        from samdiffsr.sampling.baselines import baseline_restorer

        def baseline(lr: Any, device: Any) -> Any:
            return baseline_restorer(args.recipe, args.source, lr, device)

    models = {kind: path for kind in ("encoder", "denoiser") if (path := getattr(args, kind)) is not None}
    restore_dataset(
        args.lr,
        args.out,
        args.manifest,
        args.progress,
        args.recipe,
        models,
        labels=args.labels,
        values=args.values,
        baseline=baseline,
        shard=args.shard,
        device=args.device,
        threads=args.threads,
        say=_say,
    )


def _samples_merge(args: argparse.Namespace) -> None:
    from samdiffsr.sampling.sample_set import merge_samples

    merge_samples(args.parts, args.manifest)


def _upscale(args: argparse.Namespace) -> None:
    from samdiffsr.sampling.upscale.command import upscale_images

    upscale_images(
        args.inputs,
        args.out,
        args.checkpoint,
        encoder=args.encoder,
        weights=args.weights,
        steps=args.steps,
        seed=args.seed,
        suffix=f".{args.format}" if args.format else None,
        overwrite=args.overwrite,
        pad=args.pad,
        memory=args.memory,
        device=args.device,
        precision=args.precision,
        threads=args.threads,
        say=_say,
    )


def _score(args: argparse.Namespace) -> None:
    from samdiffsr.evaluation.stages import score

    score(
        args.run,
        args.dataset,
        args.manifests,
        args.hr,
        args.lr,
        args.out,
        args.recipe,
        args.weights,
        _say,
        device=_device(args.device) if args.weights else "cpu",
    )


def _score_sets(args: argparse.Namespace) -> None:
    from samdiffsr.evaluation.set import score_sets

    score_sets(
        args.run,
        args.dataset,
        args.manifests,
        args.hr,
        args.out,
        args.recipe,
        args.cache,
        args.weights,
        device=_device(args.device),
        say=_say,
    )


def _device(name: str) -> str:
    """ "cpu" or "cuda" where it says "auto"."""
    if name != "auto":
        return name
    from samdiffsr.core.device import resolve_device

    return str(resolve_device(name))


def _score_protocols(args: argparse.Namespace) -> None:
    from samdiffsr.evaluation.stages import score_protocols

    score_protocols(args.run, args.dataset, args.manifests, args.hr, args.out, args.recipe, _say)


def _cost(args: argparse.Namespace) -> None:
    from samdiffsr.evaluation.cost import cost

    cost(args.run, args.dataset, args.out, args.samples, args.encoder, args.denoiser, args.training)


def _gather(args: argparse.Namespace) -> None:
    from samdiffsr.reporting.tables.differences import differences
    from samdiffsr.reporting.tables.gather import gather
    from samdiffsr.reporting.tables.render import latex, markdown, write_text

    rows = gather(args.recipe, args.scores, args.sets, args.published, args.out, args.tidy)
    claimed = differences(args.recipe, args.scores, args.differences)
    write_text(args.markdown, markdown(args.recipe, rows, claimed))
    write_text(args.latex, latex(args.recipe, rows, claimed))


def _join_differences(args: argparse.Namespace) -> None:
    from samdiffsr.reporting.tables.differences import join

    join(args.parts, args.out)


def _report(args: argparse.Namespace) -> None:
    from samdiffsr.reporting.page.page import report

    report(
        args.recipe,
        args.tidy,
        args.differences,
        args.figures,
        args.results,
        args.stores,
        args.out,
        _say,
    )


def _draw(args: argparse.Namespace) -> None:
    from samdiffsr.reporting.figures.draw import draw

    inputs: dict[str, list[Path]] = {}
    for use, path in args.inputs:
        inputs.setdefault(use, []).append(path)
    try:
        draw(args.recipe, inputs, args.out)
    except UserError as error:
        raise UserError(f"{args.name}: {error}") from None


# ---- the parser ----


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="samdiffsr",
        description="The stages of the SAM-DiffSR benchmark. `snakemake` runs them in order; see README.md.",
    )
    parser.add_argument("--version", action="version", version=f"samdiffsr {__version__}")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    stages = parser.add_subparsers(title="stages", metavar="STAGE", required=True)

    def stage(
        name: str, handler: Callable[[argparse.Namespace], None], about: str, threads: int | None = 1
    ) -> argparse.ArgumentParser:
        added = stages.add_parser(name, help=about, description=about)
        added.set_defaults(handler=handler)
        added.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show tracebacks")
        added.add_argument(
            "--threads", type=_count, default=threads, help=f"CPU threads (default {threads or 'all'})"
        )
        return added

    def paths(to: argparse.ArgumentParser, required: Sequence[str], optional: Sequence[str] = ()) -> None:
        for name in required:
            to.add_argument(f"--{name}", type=Path, required=True, metavar="PATH")
        for name in optional:
            to.add_argument(f"--{name}", type=Path, metavar="PATH")

    def recipe(to: argparse.ArgumentParser, kind: Callable[[str], Any] = _json) -> None:
        to.add_argument("--recipe", type=kind, required=True, metavar="JSON", help="what decides the outcome")

    def sharded(to: argparse.ArgumentParser) -> None:
        to.add_argument("--shard", type=_shard, default=(0, 1), metavar="PART/PARTS")

    paths(stage("demo-data", _demo_data, "write the demo photographs"), ["out"])

    def config(to: argparse.ArgumentParser) -> None:
        to.add_argument("--config", type=Path, default=Path("config.yaml"), metavar="PATH")
        to.add_argument("--configfile", dest="overlay", type=Path, action="append", metavar="PATH")
        to.add_argument("--study", help="a study of config.yaml (default: the one it names)")
        to.add_argument("--mirror", metavar="PATH|URL", help="searched before any address")
        to.add_argument(
            "--set", action="append", metavar="KEY=VALUE", help="a top-level setting, e.g. device=cpu"
        )
        to.add_argument("--root", type=Path, default=Path(), metavar="PATH", help="the repository's root")

    fetch = stage("fetch", _fetch, "fetch image sets and weights (default: what the study needs)")
    fetch.add_argument("names", nargs="*", metavar="NAME")
    config(fetch)
    verify = stage("verify", _verify, "compare what was fetched with the manifests")
    verify.add_argument("names", nargs="*", metavar="NAME")
    verify.add_argument("--root", type=Path, default=Path(), metavar="PATH", help="the repository's root")
    verify.add_argument("--write", type=Path, metavar="CSV", help="write the manifest of what was found")

    doctor = stage("doctor", _doctor, "say what the study needs, what is missing, and what mends it")
    config(doctor)
    doctor.add_argument("--deep", action="store_true", help="decode and hash every file")
    planned = stage("plan", _plan, "say what a target will cost here; runs nothing but a short timing")
    planned.add_argument("targets", nargs="*", default=["all"], metavar="TARGET")
    config(planned)
    timed = stage("calibrate", _calibrate, "time a few training steps and network calls on this device")
    paths(timed, ["out"])
    recipe(timed)
    timed.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    release = stage("release", _release, "copy trained models to checkpoints/ and put them under DVC")
    release.add_argument("runs", nargs="*", metavar="RUN", help="sam_diffsr-x4-s0, or table2 for its runs")
    config(release)
    release.add_argument("--all", action="store_true", help="every run of the study's tables")
    release.add_argument("--no-dvc", action="store_true", help="copy only")
    release.add_argument("--remote", help="DVC remote that they belong to (default: the clone's)")
    track = stage("track", _track, "put data/ under DVC, unless a part of it is absent")
    track.add_argument("--root", type=Path, default=Path(), metavar="PATH", help="the repository's root")
    track.add_argument("--drop", action="store_true", help="take what is absent out of data.dvc")
    track.add_argument("--check", action="store_true", help="only compare data.dvc with data.files")

    hr = stage("prepare-hr", _prepare_hr, "pack a folder of images into an HR store")
    paths(hr, ["out"])
    what = hr.add_mutually_exclusive_group(required=True)
    what.add_argument("--folder", type=Path, metavar="PATH")
    what.add_argument(
        "--recipe",
        metavar="JSON",
        help="several folders, names left out; compared with manifests",
    )
    lr = stage("prepare-lr", _prepare_lr, "shrink an HR store into an LR store")
    paths(lr, ["hr", "out"])
    recipe(lr, str)

    export = stage("export", _export, "write a store's images as PNG files, for other programs")
    export.add_argument("store", type=Path, metavar="STORE", help="e.g. work/stores/set5/lr-x4")
    paths(export, ["out"])

    overlap = stage("overlap", _overlap, "find test images among the training images")
    paths(overlap, ["out"])
    overlap.add_argument("--train", type=_named, required=True, metavar="NAME=STORE")
    overlap.add_argument("--test", type=_named, nargs="+", required=True, metavar="NAME=STORE")
    overlap.add_argument("--recipe", metavar="JSON", help="what training leaves out")

    masks = stage("segment", _segment, "find the regions of a store's images")
    paths(masks, ["source", "out"])
    recipe(masks)
    sharded(masks)
    masks.add_argument("--scale", type=int, default=1, help="scale factor of an LR store")
    masks.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    masks.add_argument("--weights", type=Path, metavar="PATH", help="folder of weight files (SAM, MobileSAM)")
    masks.add_argument("--root", type=Path, metavar="PATH", help="folder that holds BSDS500 (ucm, human)")
    masks.add_argument(
        "--state", type=Path, metavar="PATH", help="folder that an interrupted call goes on from"
    )
    merge = stage("masks-merge", _masks_merge, "join the parts of a region store")
    paths(merge, ["out"])
    merge.add_argument("--shards", type=Path, nargs="+", required=True, metavar="PATH", help="in their order")
    paths(
        stage("masks-export", _masks_export, "write masks as COCO run lengths, a JSON an image"),
        ["labels", "out"],
    )
    bring = stage("masks-import", _masks_import, "read masks from COCO run lengths, a JSON an image")
    paths(bring, ["folder", "source", "out"])
    bring.add_argument("--scale", type=int, default=1, help="of masks that were made on an LR store")
    count = stage("masks-statistics", _masks_statistics, "describe a region store")
    paths(count, ["labels", "out", "summary"], ["root"])
    recipe(count)
    total = stage("masks-gather", _masks_gather, "join the statistics of several region stores")
    paths(total, ["out"])
    total.add_argument("--parts", type=Path, nargs="+", required=True, metavar="PATH")
    values = stage("encode", _encode, "give every region its value (paper equation 6)")
    paths(values, ["labels", "out"])
    recipe(values)

    def training(to: argparse.ArgumentParser) -> None:
        recipe(to)
        to.add_argument("--compile", action="store_true", help="the network, with torch.compile")
        to.add_argument("--name", default="training", help="what messages call this training")
        to.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
        to.add_argument(
            "--processes",
            type=int,
            default=1,
            metavar="N",
            help="that share each batch (default 1)",
        )
        to.add_argument(
            "--workers", type=int, default=0, help="threads that cut patches ahead (default 0: in line)"
        )
        to.add_argument(
            "--save-every", type=_count, default=500, metavar="STEPS", help="between two resume states"
        )
        to.add_argument(
            "--slow-hours",
            type=float,
            default=float(os.environ.get("SAMDIFFSR_SLOW_HOURS", "inf")),
            metavar="H",
            help="refuse a training that would take longer (default: $SAMDIFFSR_SLOW_HOURS, or never)",
        )

    encoder = stage("train-encoder", _train_encoder, "pretrain the RRDB encoder")
    paths(encoder, ["hr", "lr", "state", "out"])
    training(encoder)
    denoiser = stage("train-denoiser", _train_denoiser, "train a denoiser")
    paths(denoiser, ["hr", "lr", "encoder", "state", "out"], ["labels", "values"])
    training(denoiser)

    paths(stage("import-encoder", _import_encoder, "convert others' RRDB encoder"), ["file", "out"])
    bring_denoiser = stage("import-denoiser", _import_denoiser, "convert others' denoiser")
    paths(bring_denoiser, ["file", "encoder", "out"])
    recipe(bring_denoiser)

    sample = stage("sample", _sample, "restore the images of an LR store")
    paths(
        sample, ["lr", "out", "manifest", "progress"], ["encoder", "denoiser", "labels", "values", "source"]
    )
    recipe(sample)
    sharded(sample)
    sample.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])

    join = stage("samples-merge", _samples_merge, "join the manifests of an LR store's parts")
    paths(join, ["manifest"])
    join.add_argument("--parts", type=Path, nargs="+", required=True, metavar="PATH", help="in their order")

    large = stage("upscale", _upscale, "enlarge images of your own by a trained model", threads=None)
    large.add_argument("inputs", nargs="+", type=Path, metavar="INPUT", help="image files, folders of them")
    large.add_argument("-o", "--out", type=Path, required=True, metavar="OUT", help="a file, or a folder")
    large.add_argument(
        "--checkpoint", type=Path, required=True, metavar="RUN", help="model file, or its folder in results/"
    )
    large.add_argument(
        "--encoder",
        type=Path,
        metavar="PATH",
        help="default: the one it was trained with, looked for beside it",
    )
    large.add_argument("--weights", default="ema", choices=["ema", "raw"])
    large.add_argument("--steps", type=_count, metavar="N", help="sampling steps (default: all)")
    large.add_argument("--seed", type=int, default=0, help="of the noise (default 0)")
    large.add_argument(
        "--format", choices=["png", "jpg", "tif", "webp", "bmp"], help="of files in a folder (default png)"
    )
    large.add_argument("--overwrite", action="store_true", help="replace what is there; never an input")
    large.add_argument(
        "--pad",
        type=_whole,
        default=1,
        metavar="N",
        help="LR pixels reflected around it (default 1; study: 0)",
    )
    large.add_argument(
        "--memory", type=_count, default=550, metavar="MB", help="for the network's maps (default 550)"
    )
    large.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    large.add_argument("--precision", default="auto", choices=["auto", "bf16", "float32"])

    score = stage("score", _score, "score restored images against their truth")
    paths(score, ["hr", "lr", "out"], ["weights"])
    score.add_argument("--manifests", type=Path, nargs="+", required=True, metavar="PATH")
    score.add_argument("--run", required=True)
    score.add_argument("--dataset", required=True)
    recipe(score)

    score.add_argument(
        "--device", default="cpu", choices=["auto", "cpu", "cuda"], help="for metrics with networks"
    )

    sets = stage("score-sets", _score_sets, "FID and KID of restored images against their truth")
    paths(sets, ["hr", "out", "cache", "weights"])
    sets.add_argument("--manifests", type=Path, nargs="+", required=True, metavar="PATH")
    sets.add_argument("--run", required=True)
    sets.add_argument("--dataset", required=True)
    sets.add_argument("--device", default="cpu", choices=["auto", "cpu", "cuda"])
    recipe(sets)

    protocols = stage("score-protocols", _score_protocols, "score restored images under several protocols")
    paths(protocols, ["hr", "out"])
    protocols.add_argument("--manifests", type=Path, nargs="+", required=True, metavar="PATH")
    protocols.add_argument("--run", required=True)
    protocols.add_argument("--dataset", required=True)
    recipe(protocols)

    cost = stage("cost", _cost, "parameters, times and memory of a run")
    paths(cost, ["out"], ["encoder", "denoiser", "training"])
    cost.add_argument("--samples", type=Path, nargs="+", required=True, metavar="PATH", help="timing records")
    cost.add_argument("--run", required=True)
    cost.add_argument("--dataset", required=True)

    gather = stage("gather", _gather, "make one table from the scores")
    paths(gather, ["published", "out", "tidy", "differences", "markdown", "latex"])
    gather.add_argument("--scores", type=Path, nargs="+", required=True, metavar="PATH")
    gather.add_argument("--sets", type=Path, nargs="*", default=[], metavar="PATH")
    recipe(gather)
    draw = stage("draw", _draw, "draw one figure from CSVs, images and small files")
    draw.add_argument("name", metavar="NAME", help="what messages call it, e.g. figure5")
    draw.add_argument(
        "--inputs", type=_named, nargs="*", default=[], metavar="USE=PATH", help="what it shows"
    )
    draw.add_argument("--out", type=Path, nargs="+", required=True, metavar="PATH", help=".png, .pdf")
    recipe(draw)
    join = stage("join-differences", _join_differences, "put the tables' differences into one file")
    paths(join, ["out"])
    join.add_argument("--parts", type=Path, nargs="+", required=True, metavar="PATH")
    page = stage("report", _report, "make the page that shows a study: tables, images, figures, origin")
    paths(page, ["differences", "results", "stores", "out"])
    recipe(page)
    page.add_argument("--tidy", type=Path, nargs="*", default=[], metavar="PATH", help="tidy tables")
    page.add_argument("--figures", type=Path, nargs="*", default=[], metavar="PATH", help="PNG files")
    return parser
