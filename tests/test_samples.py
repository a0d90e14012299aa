"""Several images of one LR image: their error split, their seeds, their table."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from samdiffsr.checkpoints.released import trained_path
from samdiffsr.config.load import load_config
from samdiffsr.config.recipes.stages import samples_recipe, sampling_recipe
from samdiffsr.config.recipes.tables import table_recipe
from samdiffsr.config.schema import Run
from samdiffsr.core.errors import UserError
from samdiffsr.core.files import sha256_file, write_json
from samdiffsr.core.randomness import image_index
from samdiffsr.core.recipe import Recipe
from samdiffsr.data.images import write_png
from samdiffsr.data.store import StoreWriter
from samdiffsr.evaluation.image import ImageMetrics, Pair
from samdiffsr.evaluation.metrics import METRICS
from samdiffsr.evaluation.protocol import Protocol
from samdiffsr.evaluation.recipe import SamplesRecipe
from samdiffsr.evaluation.samples import Drawn, mean_psnr, score_samples, split
from samdiffsr.sampling.recipe import DenoiserRecipe, EncoderRecipe
from samdiffsr.sampling.sample_set import SampleSet
from tests.workflow import ROOT, TINY, Workflow

PROTOCOL = Protocol.for_scale(4)
ALL = tuple(sorted(name for name in METRICS if "samples:" in METRICS[name].code))
LEVELS = st.integers(0, 255)


def noisy(sd: float, truth: np.ndarray, seed: int) -> np.ndarray:
    """uint8: the truth, wrong by 10 levels, plus white noise."""
    noise = np.random.default_rng(seed).normal(10, sd, truth.shape)
    return (truth + noise).round().clip(0, 255).astype(np.uint8)


# ---- the split ----


@given(st.data(), st.integers(2, 6))
def test_error_is_that_of_the_mean_plus_the_variance(data: st.DataObject, samples: int) -> None:
    x = data.draw(arrays(np.float64, (samples, 4, 3), elements=LEVELS))
    y = data.draw(arrays(np.float64, (4, 3), elements=LEVELS))
    found = split(x, y)
    assert found.sample_error == pytest.approx(found.mean_error + found.variance, abs=1e-8)
    assert found.sample_error == pytest.approx(((x - y) ** 2).mean())
    assert found.variance == pytest.approx(x.var(axis=0, ddof=1).mean())


@pytest.mark.parametrize("samples", [2, 4])
def test_both_parts_are_unbiased(samples: int) -> None:
    """Bias 3, sd 2: errors 9 and 4. The squared error of the mean itself would be 9 + 4 / K."""
    rng = np.random.default_rng(0)
    studies = np.array([split(rng.normal(3, 2, (samples, 20)), np.zeros(20)) for _ in range(4000)])
    mean, sd = studies.mean(axis=0), studies.std(axis=0) / math.sqrt(len(studies))
    assert np.abs(mean - [13, 9, 4]).max() < 4 * sd.max()
    assert sd.max() < 0.1 < 4 / samples / 4


@pytest.mark.parametrize("shapes", [((1, 3), (3,)), ((2, 3), (4,))])
def test_one_sample_has_no_variance(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="two or more"):
        split(*map(np.zeros, shapes))


@pytest.mark.parametrize("border", [0, 4])
def test_the_error_is_psnr_ys(border: int) -> None:
    truth = np.random.default_rng(1).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    protocol = Protocol.for_scale(4, border)
    samples = tuple(noisy(9, truth, seed) for seed in range(3))
    drawn, metrics = Drawn(samples, truth, protocol), ImageMetrics(["psnr_y"])
    tables = [metrics.measure("psnr_y", Pair(sample, truth, protocol)) for sample in samples]
    assert drawn.psnr == pytest.approx(tables, abs=1e-3)
    errors = [255**2 / 10 ** (psnr / 10) for psnr in tables]
    assert drawn.luma.sample_error == pytest.approx(np.mean(errors), rel=1e-4)


def test_an_error_below_nothing_has_no_psnr() -> None:
    truth = np.full((8, 8, 3), 100, np.uint8)
    drawn = Drawn((truth + np.uint8(1), truth - np.uint8(1)), truth, PROTOCOL)
    assert drawn.luma.mean_error < 0
    assert math.isnan(mean_psnr(drawn))


def test_white_noise_alone_lowers_the_artifact_excess_and_the_mean_shows_it() -> None:
    ramp = np.linspace(0, 1, 48)
    truth = (127 + 60 * np.sin(40 * ramp[:, None] * ramp)).astype(np.uint8)[..., None].repeat(3, 2)
    smooth = np.roll(truth, 2, axis=1)
    rng = np.random.default_rng(2)
    plain = Drawn((smooth, smooth), truth, PROTOCOL)
    grainy = [
        (smooth + rng.normal(0, 8, truth.shape)).round().clip(0, 255).astype(np.uint8) for _ in range(16)
    ]
    drawn = Drawn(tuple(grainy), truth, PROTOCOL)
    excess, of_mean = (METRICS[name].function for name in ("sample_excess", "mean_excess"))
    assert excess(drawn) < 0.97 * excess(plain)
    assert excess(drawn) < of_mean(drawn) < 1.01 * excess(plain)


# ---- the stage ----


def told(recipe: Recipe) -> dict[str, Any]:
    """A recipe as a manifest holds it."""
    return recipe.model_dump(mode="json")


@pytest.fixture
def drawn(tmp_path: Path) -> list[Path]:
    """Manifests of three samples of two images, and their truth."""
    truth = {
        name: np.random.default_rng(i).integers(0, 256, (16, 24, 3), dtype=np.uint8)
        for i, name in enumerate("ab")
    }
    with StoreWriter(tmp_path / "hr") as store:
        for name, image in truth.items():
            store.add(name, image)
    manifests = []
    for sample in range(3):
        folder, listed = tmp_path / str(sample) / "set", []
        for name, image in truth.items():
            write_png(folder / f"{name}.png", noisy(5, image, sample))
            listed.append({"name": name, "sha256": sha256_file(folder / f"{name}.png")})
        manifests.append(folder.with_suffix(".json"))
        recipe = told(DenoiserRecipe(scale=4, seed=7, sample=sample))
        write_json(manifests[-1], {"images": listed, "recipe": recipe, "models": {"denoiser": "d"}})
    return manifests


def scored(manifests: list[Path]) -> list[dict[str, str]]:
    root = manifests[0].parents[1]
    recipe = SamplesRecipe(scale=4, metrics=ALL)
    score_samples("a-x4-s7", "set", manifests, root / "hr", root / "o.csv", recipe)
    return list(csv.DictReader((root / "o.csv").read_text().splitlines()))


def test_every_image_and_metric_is_a_row(drawn: list[Path]) -> None:
    rows = scored(drawn)
    assert len(rows) == 2 * len(ALL) == 14
    assert {row["protocol"] for row in rows} == {f"{PROTOCOL.name}, 3 samples"}
    assert {row["why_empty"] for row in rows} == {""}
    a = {row["metric"]: float(row["value"]) for row in rows if row["image"] == "a"}
    assert a["sample_error"] == pytest.approx(a["mean_error"] + a["sample_variance"], abs=1e-5)


def test_an_image_without_a_sample_is_left_out_and_says_so(drawn: list[Path]) -> None:
    (drawn[2].with_suffix("") / "b.png").unlink()
    rows = [row for row in scored(drawn) if not row["value"]]
    assert {(row["image"], row["why_empty"]) for row in rows} == {("b", "2 of 3 samples are here")}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("recipe", told(DenoiserRecipe(scale=4, seed=7)), "with different seeds"),
        ("recipe", told(EncoderRecipe(scale=4)), "with different seeds"),
        ("recipe", told(DenoiserRecipe(scale=4, seed=8, sample=1)), "its settings or models differ"),
        ("models", {"denoiser": "another"}, "its settings or models differ"),
    ],
)
def test_samples_of_another_training_are_refused(
    drawn: list[Path], key: str, value: dict[str, Any], message: str
) -> None:
    listed = yaml.safe_load(drawn[1].read_text())
    write_json(drawn[1], {**listed, key: value})
    with pytest.raises(UserError, match=message):
        scored(drawn)


def test_a_manifest_from_before_there_were_several_samples_is_read(drawn: list[Path]) -> None:
    listed = yaml.safe_load(drawn[0].read_text())
    del listed["recipe"]["sample"], listed["models"]
    write_json(drawn[0], listed)
    made = SampleSet.open(drawn[0])
    assert (made.recipe, made.models) == (DenoiserRecipe(scale=4, seed=7), {})


# ---- seeds, configuration, workflow ----


def test_the_first_sample_draws_the_noise_of_the_tables_and_every_other_its_own() -> None:
    assert image_index("im") == image_index("im", 0) == 0xA898DF22BFC7  # as before there were several
    found = {image_index(name, sample) for name in ("im", "im1", "im10") for sample in range(20)}
    assert len(found) == 60


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"samples": 1}, "tables.tables4: samples: 'sample_error' takes two or more"),
        ({"metrics": ["psnr_y"]}, "tables.tables4: samples: 'psnr_y' takes 1"),
        ({"rows": ["rrdb"], "differences": []}, "tables4.samples: 'rrdb' draws nothing"),
        ({"protocols": ["border"]}, "tables.tables4: samples: not together with `protocols`"),
    ],
)  # fmt: skip
def test_a_table_of_samples_has_metrics_of_samples(change: dict[str, Any], message: str) -> None:
    raw = yaml.safe_load((ROOT / "config.yaml").read_text())
    raw["tables"]["tables4"] |= change
    with pytest.raises(UserError) as error:
        load_config(raw)
    assert message in str(error.value)


def test_the_table_shows_the_headline_weights_and_says_how_many() -> None:
    config = load_config(ROOT / "config.yaml").model_copy(update={"study": "reduced"})
    row = table_recipe(config, "tables4").rows[0]
    assert row.weights == ("ema",)
    assert row.sampling == "all 100 steps, 4 images an LR image"
    assert set(samples_recipe(config, 4).metrics) == set(ALL)


def test_the_controls_networks_are_sampled_on_the_other_methods_steps() -> None:
    config = load_config(ROOT / "config.yaml")
    assert config.chain("srdiff_same_steps").start == config.diffusion.steps - 1 == 99
    assert config.chain("srdiff").start is config.chain("sam_diffsr").start is None
    run = Run(variant="srdiff_same_steps", scale=4, seed=0)
    own = Run(variant="srdiff", scale=4, seed=0)
    assert trained_path(config, "runs", run) == trained_path(config, "runs", own)
    told, plain = (sampling_recipe(config, which, "ema") for which in (run, own))
    assert told == plain.but(start=99)
    rows = {row.variant: row.sampling for row in table_recipe(config, "tables3").rows}
    assert rows["srdiff_same_steps"] == rows["srdiff"] + " (from t = 99)"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_of": "sam_diffsr"}, "model_of: it is not trained as 'sam_diffsr' is"),
        ({"training": {"loss": "l1"}}, "model_of: it is not trained as 'srdiff' is"),
        ({"model_of": "nobody"}, "model_of: no variant 'nobody'"),
        ({"sampling": {"like": "nobody"}}, "sampling.like: no variant 'nobody'"),
        ({"sampling": {"like": "sam_diffsr", "start": 50}}, "start: no effect beside `like`"),
        ({"sampling": {"like": "bicubic"}}, "sampling.like: 'bicubic' has no steps to begin at"),
        ({"sampling": {"like": "srdiff_same_steps"}}, "has a sampling of its own"),
    ],
)
def test_what_shares_a_training_is_trained_alike(change: dict[str, Any], message: str) -> None:
    raw = yaml.safe_load((ROOT / "config.yaml").read_text())
    raw["variants"]["srdiff_same_steps"] |= change
    with pytest.raises(UserError) as error:
        load_config(raw)
    assert message in str(error.value)


@pytest.mark.workflow
def test_a_shared_training_is_run_once(tmp_path: Path) -> None:
    target = "results/demo/scores/srdiff{}-x4-s0/demo_test.csv"
    workflow = Workflow.new(tmp_path / "repository", TINY)
    jobs = workflow.dry(target.format(""), target.format("_same_steps")).jobs
    assert (jobs["train_denoiser"], jobs["sample"], jobs["score"]) == (1, 4, 2)


@pytest.mark.workflow
def test_three_more_samples_of_each_run_and_one_score(tmp_path: Path) -> None:
    workflow = Workflow.new(tmp_path / "repository", TINY)
    jobs = workflow.dry("results/tables4.csv").jobs
    assert (jobs["train_denoiser"], jobs["sample"], jobs["sample_again"], jobs["score_samples"]) == (
        3,
        3,
        9,
        3,
    )
    assert "score" not in jobs
    shown = workflow.dry("results/demo/draws/srdiff-x4-s0/2/ema/demo_test.json", "-p").text
    assert '"seed":0' in shown
    assert '"sample":2' in shown
