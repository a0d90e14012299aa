"""Small good input for every stage, and each stage's command on it."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samdiffsr.cli.app import main
from samdiffsr.core.recipe import Recipe
from samdiffsr.data.recipe import LrRecipe
from samdiffsr.diffusion.recipe import Diffusion
from samdiffsr.evaluation.recipe import ScoreRecipe, SetScoreRecipe
from samdiffsr.masks.recipe import Encoding, MaskRecipe, StatisticsRecipe
from samdiffsr.masks.segmenters.registry import Felzenszwalb
from samdiffsr.models.recipe import UNet
from samdiffsr.reporting.tables.recipe import TableRecipe
from samdiffsr.sampling.recipe import BaselineRecipe
from samdiffsr.sampling.recipe import DenoiserRecipe as SampledDenoiser
from samdiffsr.training.recipe import DenoiserRecipe, EncoderRecipe, Structure, Training
from tests.workflow import ROOT

STEPS = {"steps": 2, "batch": 2, "patch": 32, "ema": 0.5}
FELZENSZWALB = Felzenszwalb(scale=50, sigma=0.8, min_size=20)
RECIPES: dict[str, Recipe] = {
    "lr": LrRecipe(scale=4),
    "masks": MaskRecipe(image="hr", segmenter=FELZENSZWALB),
    "encode": Encoding(),
    "statistics": StatisticsRecipe(study="demo", level="high", masks="m", dataset="x", scale=4, patch=32),
    "encoder": EncoderRecipe(
        blocks=2, features=4, growth=2, scale=4, training=Training(**STEPS, loss="l1"), precision="float32",
    ),
    "denoiser": DenoiserRecipe(
        scale=4, formulation="published", unet=UNet(dim=8, mults=(1, 2)), diffusion=Diffusion(steps=4),
        training=Training(**STEPS), structure=Structure(), precision="float32",
    ),
    "sample": SampledDenoiser(scale=4, precision="float32"),
    "baseline": BaselineRecipe(scale=4, adapter="command", command="sh -c 'cp {lr}/* {sr}/'"),
    "score": ScoreRecipe(scale=4, metrics=("psnr_y",)),
    "sets": SetScoreRecipe(scale=4, metrics=("fid_clean",)),
    "table": TableRecipe(
        name="table2", study="demo", about="", comparable=False, train_set="x", scale=4, title="",
        checkpoints="trained", metrics=("psnr_y",), datasets=({"name": "x", "label": "X", "published": ""},),
        rows=({"variant": "mine", "label": "Mine", "published": "", "masks": None, "runs": ["mine-x4-s0"],
               "weights": ["ema"], "sampling": ""},),
    ),
}  # fmt: skip

# stage -> its command line on good input; what it writes lies under out/
GOOD: dict[str, list[str]] = {
    "prepare-hr": ["--folder", "images", "--out", "out/hr"],
    "prepare-lr": ["--hr", "hr", "--out", "out/lr", "--recipe", "lr"],
    "segment": ["--source", "hr", "--out", "out/masks", "--recipe", "masks"],
    "masks-import": ["--folder", "rle", "--source", "hr", "--out", "out/masks"],
    "masks-merge": ["--shards", "part0", "part1", "--out", "out/masks"],
    "encode": ["--labels", "masks", "--out", "out/values.npz", "--recipe", "encode"],
    "train-encoder": [
        "--hr", "hr", "--lr", "lr", "--state", "out/s", "--out", "out/e", "--recipe", "encoder",
        "--save-every", "1",
    ],
    "train-denoiser": [
        "--hr", "hr", "--lr", "lr", "--encoder", "encoder", "--labels", "masks", "--values", "values.npz",
        "--state", "out/s", "--out", "out/d", "--recipe", "denoiser", "--save-every", "1",
    ],
    "sample": [
        "--lr", "lr", "--out", "out/sr", "--manifest", "out/sr.json", "--progress", "out/p.jsonl",
        "--encoder", "encoder", "--denoiser", "denoiser", "--device", "cpu", "--recipe", "sample",
    ],
    "score": [
        "--hr", "hr", "--lr", "lr", "--out", "out/scores.csv", "--run", "mine-x4-s0", "--dataset", "x",
        "--manifests", "sr.json", "--recipe", "score",
    ],
    "score-sets": [
        "--hr", "hr", "--out", "out/sets.csv", "--cache", "out/cache", "--weights", "weights", "--run", "r",
        "--dataset", "x", "--manifests", "sr.json", "--recipe", "sets",
    ],
    "cost": ["--out", "out/cost.csv", "--run", "r", "--dataset", "x", "--samples", "sr.timing.json",
             "--encoder", "encoder", "--denoiser", "denoiser"],
    "gather": [
        "--scores", "scores.csv", "--published", "paper/published_tables.csv", "--out", "out/t.csv",
        "--tidy", "out/tidy.csv", "--differences", "out/d.csv", "--markdown", "out/t.md",
        "--latex", "out/t.tex", "--recipe", "table",
    ],
    "masks-statistics": ["--labels", "masks", "--out", "out/m.csv", "--summary", "out/s.csv",
                         "--recipe", "statistics"],
    "overlap": ["--train", "train=hr", "--test", "test=other", "--out", "out/overlaps.csv"],
    "release": ["sam_diffsr-x4-s0", "--no-dvc"],
    "verify": ["set5"],
    "fetch": ["set5", "--mirror", "mirror"],
    "doctor": ["--study", "demo"],
}  # fmt: skip
RUNNABLE = [stage for stage in GOOD if stage not in ("release", "verify", "fetch", "doctor")]


class World:
    """A folder of good input, and a command on it, for a case to spoil."""

    def __init__(self, stage: str) -> None:
        self.argv = [stage, *GOOD[stage]]

    def give(self, option: str, *values: str) -> None:
        """Replace an option's values, or add the option."""
        if option in self.argv:
            i = self.argv.index(option) + 1
            end = next((j for j in range(i, len(self.argv)) if self.argv[j].startswith("--")), len(self.argv))
            self.argv[i:end] = values
        else:
            self.argv += [option, *values]

    def drop(self, option: str) -> None:
        i = self.argv.index(option)
        del self.argv[i : i + 2]

    def recipe(self, name: str, **changes: Any) -> None:
        """Give the recipe with some of it changed; a__b names a value inside."""
        recipe = json.loads(RECIPES[name].text())
        for key, value in changes.items():
            *outer, last = key.split("__")
            inside = recipe
            for part in outer:
                inside = inside[part]
            inside[last] = value
        self.give("--recipe", json.dumps(recipe))

    def command(self) -> list[str]:
        """The arguments, with a recipe's text for its name."""
        before = [None, *self.argv]
        return [
            RECIPES[word].text() if option == "--recipe" and word in RECIPES else word
            for option, word in zip(before, self.argv, strict=False)
        ]

    def run(self) -> None:
        main(self.command())


def build(folder: Path) -> None:
    """Two images and all that the stages make of them."""
    rng = np.random.default_rng(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for place in ("images", "others", "weights", "mirror"):
            Path(place).mkdir()
        for i, size in enumerate([(48, 40), (40, 56)]):
            for place in ("images", "others"):
                pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(f"{place}/{place}{i}.png")

        def make(stage: str, *more: str) -> None:
            good = World(stage)
            for option, value in zip(more[::2], more[1::2], strict=True):
                good.give(option, *value.split())
            good.run()

        make("prepare-hr", "--out", "hr")
        make("prepare-hr", "--folder", "others", "--out", "other")
        make("prepare-lr", "--out", "lr")
        make("segment", "--out", "masks")
        for i in (0, 1):
            make("segment", "--out", f"part{i}", "--shard", f"{i}/2")
        make("encode", "--out", "values.npz")
        main(["masks-export", "--labels", "masks", "--out", "rle"])
        make("train-encoder", "--out", "encoder")
        make("train-denoiser", "--out", "denoiser")
        make("sample", "--out", "sr", "--manifest", "sr.json")
        make("score", "--out", "scores.csv")
        shutil.rmtree("out")
        for part in ("config.yaml", "paper"):
            copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy2
            copy(ROOT / part, part)


def files(folder: Path) -> dict[str, str]:
    """Every file with its content's hash."""
    found = (path for path in folder.rglob("*") if path.is_file() or path.is_symlink())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in found}
