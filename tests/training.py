"""Tiny trainings: their data, recipes and commands."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samdiffsr.data.store import StoreWriter
from samdiffsr.masks.encode import encode
from samdiffsr.masks.recipe import Encoding
from samdiffsr.masks.regions import Regions
from samdiffsr.masks.store import RegionStoreWriter
from samdiffsr.training.job import Job
from samdiffsr.training.recipe import DenoiserRecipe, EncoderRecipe, Structure, Training

STEPS = 9
Recipe = EncoderRecipe | DenoiserRecipe


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small images with regions, as the stages would leave them."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    hr = [
        rng.integers(0, 256, (48, 40, 3), dtype=np.uint8),
        rng.integers(0, 256, (40, 56, 3), dtype=np.uint8),
    ]
    with StoreWriter(folder / "hr") as store:
        for i, image in enumerate(hr):
            store.add(f"image{i}", image)
    with StoreWriter(folder / "lr", scale=4) as store:
        for i, image in enumerate(hr):
            store.add(f"image{i}", np.ascontiguousarray(image[::4, ::4]))
    with RegionStoreWriter(folder / "labels") as store:
        for i, image in enumerate(hr):
            store.add(f"image{i}", Regions.from_partition(rng.integers(0, 5, image.shape[:2])))
    encode(folder / "labels", folder / "values.npz", Encoding())
    return folder


def training_of(**changes: Any) -> Training:
    base = {"steps": STEPS, "batch": 2, "patch": 32, "lr": 1e-3, "ema": 0.9, "augment": True}
    return Training(**{**base, **changes})


def encoder_recipe(**changes: Any) -> EncoderRecipe:
    return EncoderRecipe(
        blocks=2,
        features=8,
        growth=4,
        scale=4,
        training=training_of(loss="l1", **changes),
        precision="float32",
    )


def denoiser_recipe(formulation: str = "published", **changes: Any) -> DenoiserRecipe:
    return DenoiserRecipe(
        scale=4, formulation=formulation, unet={"dim": 8, "mults": [1, 2]}, precision="float32",
        training=training_of(**changes), structure=None if formulation == "none" else Structure(),
    )  # fmt: skip


def train_command(data: Path, out: Path, kind: str, recipe: Recipe, *more: str) -> list[str]:
    command = [
        sys.executable, "-m", "samdiffsr", f"train-{kind}", "--name", f"my-{kind}", "--device", "cpu",
        "--hr", str(data / "hr"), "--lr", str(data / "lr"), "--state", str(out / "state"),
        "--out", str(out / "model.safetensors"), "--recipe", recipe.text(), *more,
    ]  # fmt: skip
    if kind == "denoiser":
        command += ["--encoder", str(data / "encoder.safetensors")]
        if recipe.structure is not None:
            command += ["--labels", str(data / "labels"), "--values", str(data / "values.npz")]
    return command


def train(
    data: Path,
    out: Path,
    kind: str,
    recipe: Recipe,
    on_step: Callable[[int], None] = lambda step: None,
    **job: Any,
) -> None:
    from samdiffsr.training.denoiser import train_denoiser
    from samdiffsr.training.encoder import train_encoder

    settings = Job(out / "state", out / "model.safetensors", device="cpu", precision=recipe.precision, **job)
    if kind == "encoder":
        train_encoder(settings, recipe, data / "hr", data / "lr", on_step=on_step)
    else:
        masks = {} if recipe.structure is None else {"labels": data / "labels", "values": data / "values.npz"}
        train_denoiser(
            settings, recipe, data / "hr", data / "lr", data / "encoder.safetensors", **masks, on_step=on_step
        )


@pytest.fixture(scope="module")
def encoder(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("encoder")
    train(data, out, "encoder", encoder_recipe())
    os.replace(out / "model.safetensors", data / "encoder.safetensors")
    return data / "encoder.safetensors"


def same(a: Path, b: Path) -> bool:
    return all((a / n).read_bytes() == (b / n).read_bytes() for n in ("model.safetensors", "model.curve.csv"))
