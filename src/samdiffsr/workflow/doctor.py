"""What a study needs, what of it is here, and the command that mends what is not.

Nothing is changed, but that temporary files and folders of killed processes are removed.
"""

from __future__ import annotations

import configparser
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from samdiffsr.checkpoints.dvc import listing_problem, read_listing, read_pointer, table_runs
from samdiffsr.checkpoints.released import check_model, models_of, regions_digest, released_path, trained_path
from samdiffsr.config.config import Config
from samdiffsr.core import layout
from samdiffsr.core.errors import UserError
from samdiffsr.core.files import leftovers, read_json, remove
from samdiffsr.data.catalogue import Source, weights
from samdiffsr.data.fetch import in_mirror
from samdiffsr.data.images import chosen_images, look_into
from samdiffsr.data.manifest import images_digest, read_manifest
from samdiffsr.data.verify import read_stamp, taken_files, verify_source
from samdiffsr.data.weights import MissingWeights, verify
from samdiffsr.workflow.availability import needed_sources, needed_weights
from samdiffsr.workflow.beforehand import no_room_for_samples, pairs, undrawable, unfit
from samdiffsr.workflow.configuration import Call
from samdiffsr.workflow.inputs.results import sampled

State = Literal["present", "missing", "stale", "unverifiable", "unfit"]


@dataclass(frozen=True)
class Finding:
    """One thing a study needs. `cure` is a command to type, or nothing."""

    state: State
    what: str
    note: str = ""
    cure: str = ""


def examine(
    config: Config, root: Path = Path(), *, deep: bool = False, call: Call | None = None
) -> list[Finding]:
    """Everything the chosen study needs.

    Args:
        deep: decode and hash every file, instead of trusting the stamps and sizes that fetching left.
        call: what makes another command see the same configuration; the study alone if it is not given.
    """
    call = call or Call.of(config)
    found: list[Finding] = []
    for part in (_data, _weights, _stores, _masks, _models, _later, _dvc):
        try:
            found += part(config, root, deep, call)
        except UserError as error:  # a damaged file is a finding too
            found.append(Finding("stale", part.__name__.strip("_"), str(error)))
    return found


def remove_leftovers(root: Path = Path()) -> Iterator[Path]:
    """Remove the temporary files and folders that killed processes left, and say which."""
    # releases and records are mostly written into the root itself
    for path in (*leftovers([root], below=False), *leftovers(root / folder for folder in layout.WRITTEN)):
        remove(path)
        yield path


def report(findings: list[Finding]) -> str:
    """The findings as lines, aligned, each with its cure."""
    width = max((len(f.what) for f in findings), default=0)
    lines = []
    for f in findings:
        parts = [f"{f.state:<12}  {f.what:<{width}}"]
        parts += [f.note] if f.note else []
        parts += [f"-> {f.cure}"] if f.cure else []
        lines.append("  ".join(parts).rstrip())
    counts = {state: sum(f.state == state for f in findings) for state in State.__args__}  # type: ignore[attr-defined]
    lines.append(", ".join(f"{n} {state}" for state, n in counts.items() if n) or "nothing is needed")
    return "\n".join(lines)


def healthy(findings: list[Finding]) -> bool:
    """Whether nothing is missing, stale or unfit."""
    return not any(f.state in ("missing", "stale", "unfit") for f in findings)


def _data(config: Config, root: Path, deep: bool, call: Call) -> Iterator[Finding]:
    for source in needed_sources(config):
        yield _source(source, config, root, deep)
    names = (config.chosen.train_set, *config.chosen.test_sets)
    for name in names:
        dataset = config.datasets[name]
        folders = ", ".join(dataset.folder)
        if "demo" in dataset.source:
            wanted = config.expected_images(name) or ()
            stems = {p.stem for f in dataset.folder if (root / f).is_dir() for p in (root / f).iterdir()}
            absent = [e.file for e in wanted if Path(e.file).stem not in stems]
            if absent:
                yield Finding("missing", folders, f"{len(absent)} of {len(wanted)}", call.snakemake("data"))
            else:
                yield Finding("present", folders)
        elif "local" in dataset.source:
            try:
                here = chosen_images([root / f for f in dataset.folder], dataset.exclude)
            except UserError as error:
                yield Finding("missing", folders, f"dataset {name} is `local`: {error}")
                continue
            yield Finding("unverifiable", folders, f"{len(here)} images of your own, no manifest")
            yield from _left_out(dataset.folder, root)
            for scale in config.all_scales if dataset.lr else ():
                yield from _given_lr(config, name, scale, root)


def _given_lr(config: Config, name: str, scale: int, root: Path) -> Iterator[Finding]:
    folders = config.datasets[name].lr_folders(scale)
    try:
        note = f"{pairs(config, name, scale, root)} LR images, one for each HR image"
    except UserError as error:
        yield Finding("unfit", ", ".join(folders), f"dataset {name}: {error}")
        return
    yield Finding("unverifiable", ", ".join(folders), note)
    yield from _left_out(folders, root)


def _left_out(folders: Sequence[str], root: Path) -> Iterator[Finding]:
    for folder in folders:
        for line in look_into(root / folder).left_out:
            yield Finding("unverifiable", folder, line)


def _source(source: Source, config: Config, root: Path, deep: bool) -> Finding:
    what = str(source.folder)
    again = f"samdiffsr fetch {source.key}" + (f" --mirror {config.mirror}" if config.mirror else "")
    files = taken_files(source, root / source.folder)
    if not files:
        if source.by_hand and not in_mirror(source, config.mirror):
            return Finding("missing", what, "must be supplied by hand; says where from:", again)
        offline = config.mirror and not in_mirror(source, config.mirror)
        return Finding("missing", what, "not in the mirror" if offline else "", again)
    if deep:
        try:
            verified = verify_source(source, root / source.folder)
        except UserError as error:
            return Finding("stale", what, str(error), again)
        if verified.against == "count":
            return Finding("unverifiable", what, f"{len(files)} files, counted: no manifest")
        return Finding("present", what, f"{len(files)} files, each verified")
    stamp, manifest = read_stamp(source, root), read_manifest(source.key)
    if stamp is None:
        return Finding("unverifiable", what, f"{len(files)} files, not verified yet", again)
    if manifest is None:
        note = f"{len(files)} files, counted: no manifest"
        same = len(files) == stamp["images"] + stamp["other_files"]
        return Finding("unverifiable", what, note) if same else Finding("stale", what, note, again)
    if stamp["images_digest"] != images_digest(manifest) or len(files) != len(manifest):
        return Finding("stale", what, f"{len(files)} files, the manifest has {len(manifest)}", again)
    return Finding("present", what, f"{len(files)} files")


def _weights(config: Config, root: Path, deep: bool, call: Call) -> Iterator[Finding]:
    folder = root / layout.WEIGHTS
    for key in needed_weights(config):
        row = weights()[key]
        what, cure = layout.weight(row.file), f"samdiffsr fetch {key}"
        path = next((p for n in (row.file, *row.also) if (p := folder / n).is_file()), None)
        if path is None:
            yield Finding("missing", what, row.purpose, cure)
        elif deep:
            try:
                verify(key, folder)
                yield Finding("present", what, "verified")
            except MissingWeights:
                yield Finding("missing", what, row.purpose, cure)
            except UserError as error:
                yield Finding("stale", what, str(error), f"rm {path} && {cure}")
        elif row.bytes is None:
            yield Finding("unverifiable", what, "its size is not published; --deep compares its hash")
        elif path.stat().st_size != row.bytes:
            note = f"{path.stat().st_size} bytes, must be {row.bytes}"
            yield Finding("stale", what, note, f"rm {path} && {cure}")
        else:
            yield Finding("present", what)


def _stores(config: Config, root: Path, deep: bool, call: Call) -> Iterator[Finding]:
    for name in (config.chosen.train_set, *config.chosen.test_sets):
        what = layout.hr(name)
        file = what + layout.STORE[0]
        index = root / file
        cure = call.snakemake(file)
        if not index.exists():
            yield Finding("missing", what, "made when needed", cure)
            continue
        meta, wanted = read_json(index)["meta"], config.images_digest(name)
        if sorted(meta.get("excluded", ())) != sorted(config.datasets[name].exclude):
            yield Finding("stale", what, "other images are left out now", cure)
        elif wanted is not None and meta.get("images_digest") != wanted:
            yield Finding(
                "stale",
                what,
                "not the images of the manifests",
                call.snakemake(file, "-R", "prepare_hr"),
            )
        elif wanted is None:
            yield Finding("unverifiable", what, "its source has no manifest")
        else:
            yield Finding("present", what)


def _masks(config: Config, root: Path, deep: bool, call: Call) -> Iterator[Finding]:
    train_set, listing = config.chosen.train_set, read_listing(root)
    seen = set()
    for mask_set in dict.fromkeys(config.levels.values()):
        on_hr = config.mask_sets[mask_set].image == "hr"
        for scale in config.all_scales:
            what = layout.regions(train_set, config.mask_name(mask_set, scale))
            if what in seen:
                continue
            seen.add(what)
            files = layout.files(what, layout.REGIONS)
            if regions_digest(root / what) is None:
                tracked = files[0].removeprefix("data/") in listing
                cure = f"dvc pull {' '.join(files)}" if tracked else call.snakemake("masks")
                yield Finding("missing", what, "", cure)
                continue
            images = layout.hr(train_set) if on_hr else layout.lr(train_set, scale)
            store = root / (images + layout.STORE[0])
            source = read_json(root / files[0])["meta"].get("source", {}).get("digest")
            if not store.exists() or source is None:
                yield Finding(
                    "unverifiable", what, "the store of its images is not here", call.snakemake("data")
                )
            elif read_json(store)["digest"] != source:
                yield Finding(
                    "stale", what, "regions of other images", call.snakemake(files[0], "-R", "segment")
                )
            else:
                yield Finding("present", what)


def _models(config: Config, root: Path, deep: bool, call: Call) -> Iterator[Finding]:
    seen: set[Path] = set()
    untrained = 0
    released = config.checkpoint_source == "released"
    for run in table_runs(config, config.tables):
        for kind in models_of(config, run):
            path = released_path(config, kind, run) if released else trained_path(config, kind, run)
            other = trained_path(config, kind, run) if released else released_path(config, kind, run)
            if path in seen:
                continue
            seen.add(path)
            pointer = root / f"{path}.dvc"
            if not (root / path).exists():
                if not released and not (root / other).exists():
                    untrained += 1
                    continue
                yield _absent(path, other, run.name, config, root, call)
                continue
            try:
                check_model(path, config, kind, run, root)
            except UserError as error:
                cure = call.samdiffsr("release", run.name) if released else call.snakemake(str(path))
                yield Finding("stale", str(path), str(error).removeprefix(f"{path}: "), cure)
                continue
            if not released:
                yield Finding("present", str(path))
            elif not pointer.exists():
                yield Finding("unverifiable", str(path), "not under DVC", call.samdiffsr("release", run.name))
            elif read_pointer(pointer)["md5"] != _md5(root / path):
                yield Finding(
                    "stale", str(path), "not the file of its pointer", f"dvc checkout --force {path}.dvc"
                )
            else:
                yield Finding("present", str(path))
    if untrained:
        note = f"{untrained} of {len(seen)} not trained yet"
        yield Finding("missing", f"{config.study}: models of its tables", note, call.snakemake("tables"))


def _later(config: Config, root: Path, deep: bool, call: Call) -> Iterator[Finding]:
    """What would fail after the trainings."""
    for dataset, why in unfit(config, root).items():
        yield Finding("unfit", f"test set {dataset}", why)
    manifests = [
        path
        for name, table in config.tables.items()
        for variant in table.variants
        for run in config.runs(variant, table.scale)
        for dataset in config.table_datasets(name)
        for path in sampled(config, variant, table.scale, run.seed, dataset)
    ]
    absent = [("sample", path) for path in dict.fromkeys(manifests) if not (root / path).exists()]
    for variant, why in undrawable(config, absent).items():
        yield Finding("unfit", f"variant {variant}", why)
    if why := no_room_for_samples(config, absent, root):
        yield Finding("unfit", layout.SHOWN, why)


def _absent(path: Path, other: Path, run: str, config: Config, root: Path, call: Call) -> Finding:
    here = (root / other).exists()
    if config.checkpoint_source == "trained":
        note = "a released one is here (checkpoint_source=released)"
        return Finding("missing", str(path), note, call.snakemake(str(path)))
    if (root / f"{path}.dvc").exists():
        return Finding("missing", str(path), _remote_note(root), f"dvc pull {path}")
    train = "" if here else f"{call.snakemake(str(other), checkpoint_source='trained')} && "
    return Finding("missing", str(path), "was never released", train + call.samdiffsr("release", run))


def _md5(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _dvc(config: Config, root: Path, deep: bool, call: Call) -> Iterator[Finding]:
    if problem := listing_problem(root):
        yield Finding("stale", "data.dvc", problem, "git checkout data.dvc data.files && dvc pull data.dvc")
        return
    listing = read_listing(root)
    absent = [name for name in listing if not (root / layout.DATA / name).exists()]
    if absent:
        demo = all(name.startswith("demo/") for name in absent)
        note = f"{len(absent)} of {len(listing)} files are not here" + (
            "" if demo else _remote_note(root, "; ")
        )
        yield Finding("missing", "data.dvc", note, call.snakemake("data") if demo else "dvc pull data.dvc")
        return
    if deep:
        changed = [name for name, md5 in listing.items() if _md5(root / layout.DATA / name) != md5]
        if changed:
            note = f"data/{changed[0]} is not the file that data.dvc means"
            yield Finding("stale", "data.dvc", note, f"rm data/{changed[0]} && dvc checkout data.dvc")
            return
    if listing:
        yield Finding("present", "data.dvc", f"{len(listing)} files")


def _remote_note(root: Path, before: str = "") -> str:
    """A hint if DVC has no remote here."""
    for name in ("config", "config.local"):
        parser = configparser.ConfigParser()
        parser.read(root / ".dvc" / name)  # a file that is not there has no sections
        if any(section.strip("'\"").startswith("remote") for section in parser.sections()):
            return ""
    return f"{before}first: dvc remote add --local -d lab PATH"
