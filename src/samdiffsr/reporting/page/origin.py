"""How a study was made, for the report: settings, versions, commit, devices, hashes of data and models."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import Any

from samdiffsr.core.files import read_json
from samdiffsr.core.layout import SAMPLES, STORE, Layout, hr_in
from samdiffsr.reporting.page.recipe import ReportRecipe

PACKAGES = (
    "samdiffsr", "snakemake", "torch", "torchvision", "lightning-fabric", "numpy", "scipy", "scikit-image",
    "pillow", "pyiqa", "torch-fidelity", "timm", "segment-anything",
)  # fmt: skip


def origin(recipe: ReportRecipe, results: Path, stores: Path, protocols: list[str]) -> dict[str, Any]:
    """What the page says under "How it was made".

    Args:
        results, stores: folders results/<study> and work/stores.
        protocols: of the PSNR-Y and SSIM-Y values.

    Returns {"facts": [(what, value)], "datasets": [...], "models": [...]}; hashes are SHA-256 in hexadecimal.
    """
    models, devices = _models(recipe, results)
    masks = ", ".join(f"{level}: {name}" for level, name in recipe.masks.items())
    facts = [
        ("Study", f"{recipe.study}: {recipe.about}"),
        ("Training set", recipe.train_set),
        ("Test sets", ", ".join(recipe.test_sets)),
        *((f"Left out: {name}", why) for name, why in recipe.left_out.items()),
        ("Masks", masks or "none"),
        ("Seeds", ", ".join(str(seed) for seed in recipe.seeds)),
        ("Checkpoints", recipe.checkpoints),
        ("Sampling", recipe.sampling),
        ("PSNR and SSIM", "; ".join(protocols) or "not measured"),
        ("Training on", ", ".join(_training_devices(recipe, results)) or "no record (not trained here)"),
        ("Sampling on", ", ".join(devices) or "no record"),
        ("Commit of this page", commit(Path())),
        ("Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        ("Packages", ", ".join(_versions())),
    ]
    return {"facts": facts, "datasets": _datasets(recipe, stores), "models": models}


def commit(folder: Path) -> str:
    """Hash and date of the git commit that is checked out in `folder`, and whether files differ from it."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != folder.resolve():
            return "not in a git repository"
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("log", "-1", "--format=%H, %cs") + (", with uncommitted changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "not in a git repository"


def _versions() -> list[str]:
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{name} not installed")
    return found


def _datasets(recipe: ReportRecipe, stores: Path) -> list[dict[str, Any]]:
    """Digests of the images' pixels, out of the stores' indices."""
    made = []
    for name in dict.fromkeys([recipe.train_set, *recipe.test_sets]):
        index = read_json(f"{hr_in(stores, name)}{STORE[0]}")
        made.append({"name": name, "images": len(index["images"]), "digest": index["digest"]})
    return made


def _models(recipe: ReportRecipe, results: Path) -> tuple[list[dict[str, str]], list[str]]:
    """Each run's model files by their hashes as the sample stage took them, and the devices it ran on."""
    models: dict[str, dict[str, str]] = {}
    devices: dict[str, None] = {}
    place = Layout(recipe.study, home=str(results))
    for comparison in recipe.comparisons:
        for method in comparison.methods:
            samples = place.samples(method.run, method.weights, comparison.dataset)
            manifest, timing = (read_json(samples + suffix) for suffix in SAMPLES)
            devices[timing["device"]] = None
            for kind, digest in manifest["models"].items():
                row = {
                    "run": method.run,
                    "kind": kind,
                    "digest": digest,
                    "precision": manifest["precision"],
                }
                models[f"{method.run} {kind}"] = row
    return list(models.values()), list(devices)


def _training_devices(recipe: ReportRecipe, results: Path) -> list[str]:
    """Of the runs that were trained here."""
    if recipe.checkpoints != "trained":
        return []
    runs = {method.run for comparison in recipe.comparisons for method in comparison.methods}
    place = Layout(recipe.study, home=str(results))
    timings = [Path(place.training_record("runs", run)) for run in sorted(runs)]
    return list(dict.fromkeys(read_json(path)["device"] for path in timings if path.exists()))
