"""Networks that others trained, converted and evaluated like any run; the other methods beside them."""

from __future__ import annotations

import csv
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from samdiffsr.checkpoints.imports import import_denoiser, import_encoder
from samdiffsr.config.load import load_config
from samdiffsr.config.recipes.tables import table_recipe
from samdiffsr.core.errors import UserError
from samdiffsr.diffusion.schedule import cosine_schedule
from samdiffsr.models.recipe import ImportRecipe
from samdiffsr.reporting.tables.differences import difference
from samdiffsr.sampling.recipe import Draw
from samdiffsr.sampling.restorers import DenoiserRestorer
from tests.test_baselines import tiny_ldm
from tests.test_foreign import KEYS, shrink
from tests.workflow import TINY, Workflow

RECIPE = ImportRecipe(scale=4, formulation="released", lr_divisor=256, precision="float32")


def authors_file(path: Path, beta: torch.Tensor | None = None) -> Path:
    """A checkpoint with the authors' layout and names, an eighth as wide."""
    torch.manual_seed(0)
    nets = {"denoise_fn.": shrink(KEYS["denoise_fn"]), "rrdb.": shrink(KEYS["rrdb"])}
    state = {p + key: 0.05 * torch.randn(shape) for p, net in nets.items() for key, shape in net.items()}
    state |= {key: torch.zeros(shape) for key, shape in KEYS["buffers"].items()}
    state["betas"] = cosine_schedule(100, 0.008, 0.999).beta.float() if beta is None else beta
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": {"model": state}, "global_step": 400_000}, path)
    return path


@pytest.fixture
def imported(tmp_path: Path) -> tuple[Path, Path]:
    """(encoder, denoiser) as models of this project."""
    file = authors_file(tmp_path / "theirs.ckpt")
    encoder, denoiser = tmp_path / "encoder.safetensors", tmp_path / "denoiser.safetensors"
    import_encoder(file, encoder)
    import_denoiser(file, encoder, denoiser, RECIPE)
    return encoder, denoiser


def test_an_imported_denoiser_is_sampled_like_any_other(imported: tuple[Path, Path]) -> None:
    encoder, denoiser = imported
    drawn = Draw(weights="raw", steps=3)
    restore = DenoiserRestorer(denoiser, encoder, drawn, torch.device("cpu"), "float32")
    lr = np.random.default_rng(0).integers(0, 256, (12, 10, 3), dtype=np.uint8)
    assert restore(lr, "a").shape == (48, 40, 3)
    assert not np.array_equal(restore(lr, "a"), restore(lr, "b"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scale": 2}, "its denoiser has scale 4, the run needs 2"),
        ({"formulation": "condition"}, "its denoiser has mask_channels 0, the run needs 1"),
        ({"diffusion__beta_max": 0.5}, "its noise schedule is not config.yaml's"),
        ({"diffusion__steps": 50}, "its noise schedule is not config.yaml's"),
    ],
)
def test_what_does_not_fit_the_run_is_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    file, encoder = authors_file(tmp_path / "theirs.ckpt"), tmp_path / "encoder.safetensors"
    import_encoder(file, encoder)
    with pytest.raises(UserError, match=words):
        import_denoiser(file, encoder, tmp_path / "out.safetensors", RECIPE.but(**change))
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"masks": "high"}, "has its own masks"),
        ({"formulation": "published"}, "'published' cannot be sampled from an imported network"),
        ({"kind": "encoder"}, "kind 'encoder' cannot be imported"),
        ({"foreign": {"encoder": "x.ckpt"}}, "kind 'denoiser' cannot be imported"),
    ],
)
def test_an_impossible_import_is_named(root: Path, change: dict[str, Any], words: str) -> None:
    raw = yaml.safe_load((root / "config.yaml").read_text())
    raw["variants"]["authors"] |= change
    with pytest.raises(UserError, match=words):
        load_config(raw)


def test_an_imported_network_is_one_training(root: Path) -> None:
    """Its images could be drawn with every seed; how they differ is not how trainings do."""
    raw = yaml.safe_load((root / "config.yaml").read_text())
    config = load_config({**raw, "study": "small"})
    recipe = table_recipe(config, "tables1")
    ours, theirs = recipe.row("srdiff"), recipe.row("authors")
    assert (len(ours.runs), theirs.runs) == (8, ("authors-x4-s0",))
    rng = np.random.default_rng(0)
    scores = pd.DataFrame(
        [
            {"run": run, "weights": row.weights[0], "dataset": "set14", "metric": "psnr_y", "image": str(i),
             "number": 28 + rng.normal()}
            for row in (ours, theirs) for run in row.runs for i in range(20)
        ]
    )  # fmt: skip
    for pair, seeds in (((theirs, ours), "1 and 8"), ((ours, theirs), "8 and 1")):
        found = difference(scores, *pair, "set14", "psnr_y")
        assert found is not None
        assert (found["method"], found["ci_low"], found["verdict"]) == ("one seed", None, "not decided")
        assert f"{seeds} seeds, 20 images: too few seeds to decide" in found["words"]


def _others(path: Path) -> Path:
    """The tiny configuration with one table of others' methods."""
    value = yaml.safe_load(TINY.read_text())
    value["baselines"] = {"esrgan": {"sha256": ""}, "ldm": {"sha256": {}, "steps": 2}}
    rows = ["bicubic", "srgan", "esrgan", "ldm", "authors"]
    value["tables"] = {"table9": {"title": "Others", "metrics": ["psnr_y"], "rows": rows}}
    path.write_text(yaml.safe_dump(value))
    return path


@pytest.mark.workflow
@pytest.mark.slow
def test_rows_of_others_fill_when_their_files_are_there(tmp_path: Path) -> None:
    pytest.importorskip("spandrel")
    from spandrel.architectures.ESRGAN import ESRGAN

    table = "results/table9.csv"
    workflow = Workflow.new(tmp_path / "repository")
    workflow.config = _others(tmp_path / "others.yaml")
    first = workflow(table)
    assert first.code == 0, first.text
    assert "warning" not in first.text.lower().replace("no warning", "")

    def tidy() -> dict[str, dict[str, str]]:
        with open(workflow.folder / "results/table9_tidy.csv", newline="") as file:
            return {row["method"]: row for row in csv.DictReader(file)}

    empty = tidy()
    assert {name for name, row in empty.items() if row["mean"]} == {"Bicubic"}
    assert empty["SRGAN"]["why_empty"].startswith("baselines/srgan/demo_test-x4 is not here; https://")
    assert "`samdiffsr fetch sam_diffsr_checkpoints`" in empty["the authors' checkpoint"]["why_empty"]
    assert not list((workflow.folder / "results/demo/samples").glob("esrgan*"))  # not even tried
    for target, words in [
        ("ablation_esrgan", "baseline esrgan: weights/ESRGAN_SRx4"),
        ("ablation_authors", "variant authors: data/sam_diffsr_checkpoints/"),
    ]:
        asked = workflow.dry(target)
        assert asked.code != 0
        assert words in asked.text

    config = load_config(workflow.folder / "config.yaml")
    (workflow.folder / "weights").mkdir()
    torch.manual_seed(0)
    torch.save(
        ESRGAN(num_filters=8, num_blocks=1, scale=4).state_dict(),
        workflow.folder / config.baselines["esrgan"].file,
    )
    tiny_ldm(workflow.folder / config.baselines["ldm"].folder)
    authors_file(workflow.folder / config.variants["authors"].foreign.denoiser)
    assert workflow.dry(table).jobs == Counter(
        sample=3, score=3, import_encoder=1, import_denoiser=1, gather=1, show_table=1
    )
    shutil.copytree(
        workflow.folder / "results/demo/samples/bicubic-x4-s0/none/demo_test",
        workflow.folder / "baselines/srgan/demo_test-x4",
    )
    second = workflow(table)
    assert second.code == 0, second.text
    full = tidy()
    assert all(row["mean"] and row["n"] == "2" for row in full.values())
    assert full["SRGAN"]["mean"] == full["Bicubic"]["mean"]
    assert (full["the authors' checkpoint"]["masks"], full["the authors' checkpoint"]["weights"]) == (
        "its own",
        "raw",
    )
    assert workflow.dry(table).nothing_to_do
