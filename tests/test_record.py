"""A study as an RO-Crate with its masks in Croissant: read back by their own packages."""

from __future__ import annotations

import importlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samdiffsr.checkpoints.record import export
from samdiffsr.config.config import Config
from samdiffsr.config.overlays import configured
from samdiffsr.config.tables import Row
from samdiffsr.core.errors import UserError
from samdiffsr.core.files import sha256_file
from samdiffsr.masks.regions import Regions
from samdiffsr.masks.store import RegionStore, RegionStoreWriter
from tests.workflow import ROOT, TINY

rocrate = pytest.importorskip("rocrate.rocrate")
mlcroissant = pytest.importorskip("mlcroissant")
MIT = "https://spdx.org/licenses/MIT"
LABELS = np.array([[0, 1, 1], [2, 2, 1]], np.uint16)


@pytest.fixture
def config() -> Config:
    return configured(ROOT / "config.yaml", [TINY], mirror="/somewhere")


@pytest.fixture
def study(tmp_path: Path) -> Path:
    folder = tmp_path / "study"
    for name, text in {
        "results/demo/table2.csv": "Method,PSNR\nBicubic,29.22\n",
        "results/demo/scores/bicubic-x4-s0/demo_test.csv": "run\n",
        "results/demo/runs/srdiff-x4-s0/model.safetensors": "weights",
        "results/demo/runs/srdiff-x4-s0/model.curve.csv": "step,loss,lr\n",
        "results/demo/samples/srdiff-x4-s0/ema/demo_test/astronaut.png": "image",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    for name in ("config.yaml", "Snakefile"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "rules", folder / "rules")
    _masks(folder, "felzenszwalb_fine")
    return folder


def _masks(study: Path, name: str) -> None:
    with RegionStoreWriter(study / f"data/masks/demo_train/{name}") as writer:
        writer.add("coffee", Regions.from_masks([LABELS == 1, LABELS == 2]))
        writer.add("rocket", Regions.from_masks([LABELS == 2]))


def test_the_crate_holds_what_it_names(config: Config, study: Path, tmp_path: Path) -> None:
    export(config, tmp_path / "crate", study, licence=MIT)
    crate = rocrate.ROCrate(tmp_path / "crate")
    assert crate.mainEntity.id == "Snakefile"
    assert crate.license == MIT
    names = {entity.id for entity in crate.data_entities}
    here = {
        path.relative_to(tmp_path / "crate").as_posix()
        for path in (tmp_path / "crate").rglob("*")
        if path.is_file()
    }
    assert names == here - {"ro-crate-metadata.json"}
    assert "results/demo/table2.csv" in names
    assert not {name for name in names if "samples" in name or name.endswith(".safetensors")}
    table = crate.get("results/demo/table2.csv")
    assert table["sha256"] == sha256_file(study / "results/demo/table2.csv")
    run = crate.get("#run")
    assert table in run["result"]
    assert {entity["name"] for entity in run["object"]} == {"configuration.json", "demo_train", "Demo"}
    weights = (tmp_path / "crate/models.csv").read_text()
    assert sha256_file(study / "results/demo/runs/srdiff-x4-s0/model.safetensors") in weights
    used = json.loads((tmp_path / "crate/configuration.json").read_text())
    assert used["studies"]["demo"]["training"]["steps"] == 6  # of the file laid over config.yaml
    assert "mirror" not in used


def test_the_workflow_in_the_crate_is_whole(config: Config, study: Path, tmp_path: Path) -> None:
    export(config, tmp_path / "crate", study)
    included = re.findall(r'^include: "(.+)"', (study / "Snakefile").read_text(), re.MULTILINE)
    assert included
    for name in included:
        assert (tmp_path / "crate" / name).read_bytes() == (ROOT / name).read_bytes()


def test_every_mask_set_that_was_made_is_described(config: Config, study: Path, tmp_path: Path) -> None:
    """Those of levels, of variants that name a set themselves, of placebos, of another scale factor."""
    masked = config.variants["sam_diffsr"].model_copy(update={"masks": "human"})
    shown = tuple(Row(variant=name) for name in ("sam_diffsr", "mask_low", "placebo_voronoi"))
    table = config.tables["table2"].model_copy(update={"scale": 2, "rows": shown})
    variants = {**config.variants, "sam_diffsr": masked}
    config = config.model_copy(update={"variants": variants, "tables": {"table2": table}})
    made = {"felzenszwalb_fine", "human", "felzenszwalb_lr-x2", "felzenszwalb_fine_voronoi"}
    for name in (*made - {"felzenszwalb_fine"}, "felzenszwalb_lr-x8"):
        _masks(study, name)
    export(config, tmp_path / "crate", study)
    found = (tmp_path / "crate/masks").glob("*.croissant.json")
    assert {path.name.split(".")[1] for path in found} == made


@pytest.mark.parametrize("masks", [False, True])
def test_croissant_reads_the_masks_table(config: Config, study: Path, tmp_path: Path, masks: bool) -> None:
    export(config, tmp_path / "crate", study, masks=masks, licence=MIT)
    place = tmp_path / "crate/masks"
    data = mlcroissant.Dataset(jsonld=str(place / "demo_train.felzenszwalb_fine.croissant.json"))
    assert not data.metadata.ctx.issues.errors
    rows = [
        {name.removeprefix("images/"): value for name, value in row.items()} for row in data.records("images")
    ]
    assert [(row["image"], row["height"], row["width"], row["masks"]) for row in rows] == [
        (b"coffee", 2, 3, 2),
        (b"rocket", 2, 3, 1),
    ]
    for file in data.metadata.distribution:
        assert file.sha256 == sha256_file(place / file.content_url)
    store = place / "demo_train.felzenszwalb_fine"
    assert store.with_name(f"{store.name}.bin").exists() == masks
    if masks:
        assert np.array_equal(RegionStore(store)[0].labels, LABELS)


def test_nothing_is_left_of_what_cannot_be_exported(
    config: Config, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (study / "data/masks/demo_train/felzenszwalb_fine.members.npz").write_bytes(b"")
    with pytest.raises(UserError, match="members"):
        export(config, tmp_path / "crate", study)
    (tmp_path / "there").mkdir()
    with pytest.raises(UserError, match="there: is there already"):
        export(config, tmp_path / "there", study)
    with pytest.raises(UserError, match="no results yet; run `snakemake tables --config study=demo`"):
        export(config, tmp_path / "crate", tmp_path / "there")

    def absent(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}", name="rocrate")

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(UserError, match=r"rocrate is not installed; run `pip install '\.\[records\]'"):
        export(config, tmp_path / "crate", study)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["study", "there"]
