"""A small made study with all that the report reads, without any training: for the tests of the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from samdiffsr.config.config import Config
from samdiffsr.config.load import load_config
from samdiffsr.config.recipes.report import report_recipe
from samdiffsr.config.recipes.tables import table_recipe
from samdiffsr.core.files import sha256_file, write_csv, write_json
from samdiffsr.data.images import write_png
from samdiffsr.data.overlap import COLUMNS as OVERLAP_COLUMNS
from samdiffsr.data.store import StoreWriter
from samdiffsr.evaluation.scores import IMAGE_COLUMNS as COLUMNS
from samdiffsr.reporting.page.page import report
from samdiffsr.reporting.tables.differences import differences
from samdiffsr.reporting.tables.gather import gather
from samdiffsr.sampling.recipe import BicubicRecipe, DenoiserRecipe

PUBLISHED = Path(__file__).resolve().parent.parent / "paper/published_tables.csv"
EVIL = "<script>document.title='run'</script><img src=x onerror=\"document.title='run'\">"
NAMES = tuple(f"image{i}" for i in range(8))
SHIFT = {"bicubic": 0.0, "srdiff": 0.4, "sam_diffsr": 1.1}  # dB above bicubic


def example_config(**changes: Any) -> Config:
    """Three methods, two tables, one of the paper's data sets, whose images are made up."""
    tables = {
        "table2": {
            "title": f"Methods {EVIL}",
            "datasets": ["set"],
            "metrics": ["psnr_y", "ssim_y", "lpips"],
            "rows": ["bicubic", {"published": "SRGAN"}, "srdiff", "sam_diffsr"],
            "differences": [{"of": "sam_diffsr", "minus": "srdiff"}],
            "notes": [f"A note {EVIL}"],
        },
        "table4": {"title": "Not made", "metrics": ["psnr_y"], "rows": ["srdiff"]},
    }
    return load_config(
        {
            "study": "made",
            "datasets": {
                "train": {"folder": "data/train", "source": "local"},
                "set": {
                    "folder": "data/set",
                    "source": "local",
                    "label": "Urban100",
                    "published": "Urban100",
                },
            },
            "mask_sets": {"fine": {"image": "hr", "segmenter": {"kind": "felzenszwalb"}}},
            "studies": {
                "made": {
                    "about": f"made up {EVIL}",
                    "train_set": "train",
                    "test_sets": ["set"],
                    "seeds": [0],
                    "masks": {"high": "fine"},
                    "sampling": {"weights": ["ema"]},
                }
            },
            "variants": {
                "bicubic": {"label": "Bicubic", "kind": "bicubic", "formulation": "none"},
                "srdiff": {"label": "SRDiff", "formulation": "none"},
                "sam_diffsr": {"label": f"SAM-DiffSR {EVIL}", "published": "SAM-DiffSR", "masks": "high"},
            },
            "tables": tables,
            **changes,
        }
    )


def make_example(folder: Path, config: Config | None = None) -> Path:
    """Write the files of the study into `folder`, and the page, whose path is returned."""
    config = config or example_config()
    results, stores, page = folder / "results", folder / "stores", folder / "report.html"
    rng = np.random.default_rng(0)
    truth = {name: _picture(rng) for name in NAMES}
    for name in ("train", "set"):
        with StoreWriter(stores / name / "hr", kind="hr") as writer:
            for image, pixels in truth.items():
                writer.add(image, pixels)
    scores = [_run(results, name, truth, rng) for name in SHIFT]
    recipe = table_recipe(config, "table2")
    tidy, claimed = results / "table2_tidy.csv", results / "differences.csv"
    gather(recipe, scores, [], PUBLISHED, results / "table2.csv", tidy)
    differences(recipe, scores, PUBLISHED, claimed)
    figures = [results / "figure7.png", results / "figure8.png"]  # the second is not drawn
    Image.fromarray(_picture(rng, 600, 2400)).save(figures[0])
    page_recipe = report_recipe(config).model_copy(update={"figures": {"figure7": f"Masks {EVIL}"}})
    overlaps = results / "overlaps.csv"
    write_csv(overlaps, OVERLAP_COLUMNS, [overlap(image_a=f"left_{EVIL}", left_out="yes")])
    report(page_recipe, [tidy], claimed, figures, results, stores, page, overlaps)
    return page


def overlap(**changes: str) -> dict[str, str]:
    """A row of `overlaps.csv`."""
    row = {"kind": "train-test", "set_a": "train", "image_a": "one", "set_b": "set", "image_b": "image3"}
    row |= {
        "relation": "a part of it",
        "scale": "1.0",
        "box_a": "0 0 9 9",
        "share_a": "0.5",
        "share_b": "1.0",
    }
    return row | {"correlation": "0.96", "votes": "9", "left_out": "no"} | changes


def _run(results: Path, variant: str, truth: dict[str, np.ndarray], rng: np.random.Generator) -> Path:
    """Samples and scores of one run; the methods differ most on the last image, in its lower right corner."""
    recipe = BicubicRecipe(scale=4) if variant == "bicubic" else DenoiserRecipe(scale=4)
    run, weights = f"{variant}-x4-s0", recipe.weights
    manifest = results / "samples" / run / weights / "set.json"
    rows, images = [], []
    for i, (name, pixels) in enumerate(truth.items()):
        sr = pixels[:88, :120].copy()
        sr[60:, 90:] = (sr[60:, 90:] * (0.5 + SHIFT[variant] / 3)).astype(np.uint8)
        path = manifest.with_suffix("") / f"{name}.png"
        write_png(path, sr)
        images.append({"name": name, "sha256": sha256_file(path)})
        psnr = 24 + SHIFT[variant] * (1 + i / 4) + rng.normal(0, 0.05)
        for metric, value in (("psnr_y", psnr), ("ssim_y", 0.7 + SHIFT[variant] / 10), ("lpips", None)):
            row = {"run": run, "weights": weights, "dataset": "set", "image": name, "metric": metric}
            row |= {"value": "" if value is None else f"{value:.6f}", "protocol": "P"}
            rows.append(row | {"why_empty": "no weights" if value is None else ""})
    models = {} if variant == "bicubic" else {"encoder": "e" * 64, "denoiser": variant[0] * 64}
    write_json(
        manifest,
        {
            "models": models,
            "precision": "float32",
            "images": images,
            "recipe": recipe.model_dump(mode="json"),
            "lr": "",
        },
    )
    write_json(manifest.with_name("set.timing.json"), {"device": "A CPU", "weights": weights})
    path = results / "scores" / run / "set.csv"
    write_csv(path, COLUMNS, rows)
    return path


def _picture(rng: np.random.Generator, height: int = 90, width: int = 121) -> np.ndarray:
    """Smooth colours with some noise, (height, width, 3) uint8."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / rng.uniform(4, 30) + y / rng.uniform(4, 30)) for _ in range(3)]
    return np.clip(128 + 80 * np.stack(waves, axis=2) + rng.normal(0, 4, (height, width, 3)), 0, 255).astype(
        np.uint8
    )
