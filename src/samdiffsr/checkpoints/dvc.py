"""From a trained model to a released checkpoint, and data/ to data.dvc without losing what is not pulled.

DVC is called as a program, and only here; no rule of the workflow calls it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from samdiffsr.checkpoints.released import check_model, models_of, released_path, trained_path
from samdiffsr.config.config import Config
from samdiffsr.config.schema import Run
from samdiffsr.core.errors import UserError
from samdiffsr.core.files import atomic_path, sha256_file
from samdiffsr.core.layout import DATA, read_run

log = logging.getLogger(__name__)

LISTING = "data.files"


def table_runs(config: Config, names: Iterable[str]) -> list[Run]:
    """Every run of the chosen study that one of these tables shows and this project makes, each once."""
    tables = [config.tables[name] for name in names]
    shown = [
        run
        for table in tables
        for variant in table.variants
        if config.variants[variant].foreign is None
        for run in config.runs(variant, table.scale)
    ]
    return list({run.name: run for run in shown}.values())


def runs_named(config: Config, name: str) -> list[Run]:
    """The run called `name`, e.g. sam_diffsr-x4-s0, or those of the table called so; else UserError."""
    if name in config.tables:
        return table_runs(config, [name])
    found = read_run(name)
    if found is None or found[0] not in config.variants:
        known = ", ".join(run.name for run in table_runs(config, config.tables))
        raise UserError(
            f"no run or table is called {name!r}; there are {', '.join(config.tables)} and the runs {known}"
        )
    variant, scale, seed = found
    return [Run(variant=variant, scale=scale, seed=seed)]


def release(
    config: Config,
    names: Sequence[str],
    root: Path,
    *,
    dvc: bool = True,
    remote: str | None = None,
) -> list[Path]:
    """Copy trained models, and the encoders they need, to checkpoints/ and put them under DVC.

    Args:
        names: of runs or tables; none means every run of the study's tables.
        remote: the DVC remote that these files belong to, whatever a clone's default is.

    Raises:
        UserError: one is not trained, or was trained with another configuration than the present one. Nothing
            is copied then.
    """
    runs = [run for name in names or config.tables for run in runs_named(config, name)]
    todo: dict[Path, Path] = {}
    for run in runs:
        for kind in models_of(config, run):
            source = trained_path(config, kind, run)
            if not (root / source).exists():
                raise UserError(f"{source}: not trained yet; run `snakemake {source}` first")
            check_model(source, config, kind, run, root)
            todo[source] = released_path(config, kind, run)
    made = []
    for source, target in todo.items():
        if not (root / target).exists() or sha256_file(root / target) != sha256_file(root / source):
            # never written in place: a checkpoint may be a hard link into DVC's cache
            with atomic_path(root / target) as part:
                shutil.copyfile(root / source, part)
        log.info(f"{target} from {source}")
        made.append(target)
    if dvc and made:
        run_dvc(["add", *map(str, made)], root)
        if remote is not None:
            for path in made:
                pointer = (root / path).with_name(f"{path.name}.dvc")
                output = {**read_pointer(pointer), "remote": remote}
                with atomic_path(pointer) as part:
                    part.write_text(yaml.safe_dump({"outs": [output]}, sort_keys=False), encoding="utf-8")
        pointers = " ".join(f"{path}.dvc" for path in made)
        log.info(f"now: dvc push {' '.join(map(str, made))}; git add {pointers}; git commit")
    return made


def track(root: Path, *, drop: bool = False) -> None:
    """`dvc add data`, guarded, and the listing data.files beside data.dvc.

    After a partial pull, `dvc add data` by itself takes what is absent out of data.dvc without a word.

    Raises:
        UserError: a file that data.dvc has is not here, and `drop` is not set.
    """
    before = read_listing(root)
    absent = [name for name in before if not (root / DATA / name).exists()]
    if absent and not drop:
        raise UserError(
            f"data/{absent[0]} is in data.dvc and not here ({len(absent)} of {len(before)} files): run "
            "`dvc pull data.dvc` first, or give --drop to take what is absent out of data.dvc"
        )
    run_dvc(["add", DATA], root)
    pointer = read_pointer(root / "data.dvc")
    cache = Path(run_dvc(["cache", "dir"], root).strip())
    digest = pointer["md5"]
    entries = json.loads(
        (root / cache / "files" / "md5" / digest[:2] / digest[2:]).read_text(encoding="utf-8")
    )
    with atomic_path(root / LISTING) as part:
        lines = [f"{entry['md5']}  {entry['relpath']}\n" for entry in entries]
        part.write_text("".join(lines), encoding="utf-8")
    done = f"data.dvc: {len(entries)} files"
    log.info(f"{done}; now: dvc push data.dvc; git add data.dvc {LISTING}; git commit")


def read_listing(root: Path) -> dict[str, str]:
    """File of data/ -> MD5, as data.files says; empty if there is none."""
    path = root / LISTING
    if not path.exists():
        return {}
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        md5, sign, name = line.partition("  ")
        if not sign or len(md5) != 32:
            raise UserError(f"{path}: not a listing of data/ (line {line!r}); run `git checkout {LISTING}`")
        found[name] = md5
    return found


def listing_problem(root: Path) -> str:
    """What is wrong between data.dvc and data.files, or nothing: they are made together or not at all."""
    if not (root / "data.dvc").exists():
        return "" if not (root / LISTING).exists() else f"{LISTING} is here and data.dvc is not"
    entries = [{"md5": md5, "relpath": name} for name, md5 in sorted(read_listing(root).items())]
    # as DVC computes the hash of a folder
    digest = hashlib.md5(json.dumps(entries, sort_keys=True).encode()).hexdigest() + ".dir"
    pointer = read_pointer(root / "data.dvc")
    if digest == pointer["md5"]:
        return ""
    return (
        f"data.dvc lists {pointer.get('nfiles', 0)} files and {LISTING} {len(entries)}: somebody ran "
        "`dvc add data` by itself, maybe with a part of data/ absent; run `git checkout data.dvc`, "
        "`dvc pull`, `samdiffsr track`"
    )


def read_pointer(path: Path) -> dict[str, Any]:
    """The output that a .dvc file describes: md5, size, path; UserError if it is none."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))["outs"][0]
    except (OSError, yaml.YAMLError, KeyError, TypeError, IndexError):
        raise UserError(f"{path}: not a DVC pointer; run `git checkout {path}`") from None


def run_dvc(arguments: Sequence[str], root: Path) -> str:
    """Call DVC, quietly and without analytics; returns what it prints. UserError with its last line if it
    fails."""
    if not (root / ".dvc").is_dir():
        raise UserError(f"{root.resolve()}: DVC is not set up here; run it in a clone, or `dvc init` first")
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=root,
        env={**os.environ, "DVC_NO_ANALYTICS": "1"},
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        raise UserError(f"dvc {' '.join(arguments[:2])}: {lines[0]}")
    return done.stdout
