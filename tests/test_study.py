"""A study from Python: what lies there is read, what is asked for is computed, what is absent is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from samdiffsr import open_study
from samdiffsr.config.recipes.stages import encoding_name
from samdiffsr.core.errors import UserError
from samdiffsr.data.resize import upscale
from samdiffsr.data.store import StoreWriter
from samdiffsr.masks.encode import encode
from samdiffsr.masks.recipe import Encoding
from samdiffsr.masks.regions import Regions
from samdiffsr.masks.store import RegionStoreWriter
from samdiffsr.models.encoder import build_encoder
from samdiffsr.models.model_file import save_model
from samdiffsr.models.recipe import EncoderNetwork
from samdiffsr.sampling.restorers import encoder_restorer
from samdiffsr.study import Study

HEAD = "run,weights,dataset,image,metric,value,why_empty,protocol\n"
LABELS = np.array([[0, 1, 1], [2, 2, 1]], np.uint16)


@pytest.fixture
def study(root: Path, tmp_path: Path) -> Study:
    """The demo with scores of two runs, a table, the masks of one image, and an encoder."""
    shutil.copy(root / "config.yaml", tmp_path)
    results = tmp_path / "results/demo"
    for run, value in (("bicubic-x4-s0", "20.5"), ("sam_diffsr-x4-s0", "")):
        folder = results / "scores" / run
        folder.mkdir(parents=True)
        (folder / "demo_test.csv").write_text(f"{HEAD}{run},ema,demo_test,astronaut,psnr_y,{value},,Y\n")
        (folder / "demo_test.sets.csv").write_text("not,scores,of,images\n")
    (results / "table2.csv").write_text("method,PSNR-Y\nBicubic,20.50\n")
    with RegionStoreWriter(tmp_path / "data/masks/demo_train/felzenszwalb_fine") as writer:
        writer.add("coffee", Regions.from_masks([LABELS == 1, LABELS == 2]))
    network = EncoderNetwork(blocks=2, features=4, growth=2, scale=4)
    weights = build_encoder(network).state_dict()
    info = {"recipe": {"kind": "encoder", **network.model_dump()}, "digests": {}}
    save_model(results / "encoders/default-x4-s0/model.safetensors", weights, weights, info)
    return open_study("demo", tmp_path, device="cpu", precision="float32")


def test_scores_are_of_all_runs_and_of_one(study: Study) -> None:
    scores = study.scores()
    assert list(scores["run"]) == ["bicubic-x4-s0", "sam_diffsr-x4-s0"]
    assert scores["value"][0] == 20.5
    assert np.isnan(scores["value"][1])
    assert list(study.run("bicubic").scores()["value"]) == [20.5]


def test_names_of_images_stay_as_they_are(study: Study) -> None:
    path = study.root / "results/demo/scores/bicubic-x4-s0/demo_test.csv"
    cells = ("0801", "NA", "'-1")
    path.write_text(HEAD + "".join(f"bicubic-x4-s0,none,demo_test,{c},psnr_y,20.5,,Y\n" for c in cells))
    assert list(study.run("bicubic").scores()["image"]) == ["0801", "NA", "-1"]


def test_tables_are_as_printed(study: Study) -> None:
    (table,) = study.tables().values()
    assert table.to_dict("records") == [{"method": "Bicubic", "PSNR-Y": "20.50"}]


def test_masks_are_a_mapping_by_name(study: Study) -> None:
    masks = study.masks("high")
    assert list(masks) == ["coffee"]
    assert np.array_equal(masks["coffee"].labels, LABELS)
    with pytest.raises(KeyError):
        masks["tea"]


def test_a_run_restores_an_image_as_the_study_does(study: Study) -> None:
    lr = np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)
    assert np.array_equal(study.run("bicubic").restore(lr), upscale(lr, 4))
    path = study.root / "results/demo/encoders/default-x4-s0/model.safetensors"
    theirs = encoder_restorer(path, "ema", torch.device("cpu"), "float32")(lr, "x")
    assert np.array_equal(study.run("rrdb").restore(lr), theirs)
    with pytest.raises(UserError, match=r"float64 \(9, 12\): the image must be uint8 \(h, w, 3\)"):
        study.run("bicubic").restore(lr[..., 0].astype(float))


def test_a_run_restores_with_the_weights_that_the_study_scores(study: Study) -> None:
    path = study.root / "results/demo/encoders/default-x4-s0/model.safetensors"
    network = EncoderNetwork(blocks=2, features=4, growth=2, scale=4)
    raw, ema = (build_encoder(network).state_dict() for _ in range(2))
    save_model(path, raw, ema, {"recipe": {"kind": "encoder", **network.model_dump()}, "digests": {}})
    (overlay := study.root / "raw.yaml").write_text("studies: {demo: {sampling: {weights: [raw]}}}\n")
    other = open_study("demo", study.root, configfile=[overlay], device="cpu", precision="float32")
    lr = np.random.default_rng(0).integers(0, 256, (12, 9, 3), dtype=np.uint8)
    restored = [
        encoder_restorer(path, weights, torch.device("cpu"), "float32")(lr, "a") for weights in ("raw", "ema")
    ]
    np.testing.assert_array_equal(other.run("rrdb").restore(lr, "a"), restored[0])
    np.testing.assert_array_equal(study.run("rrdb").restore(lr, "a"), restored[1])
    assert not np.array_equal(*restored)


def test_images_and_e_sam_by_name(study: Study, tmp_path: Path) -> None:
    hr = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)
    for stem, image in (("hr", hr), ("lr-x4", hr[::4, ::4])):
        with StoreWriter(tmp_path / "work/stores/demo_train" / stem) as store:
            store.add("coffee", np.ascontiguousarray(image))
    assert np.array_equal(study.images("demo_train")["coffee"], hr)
    assert study.images("demo_train", scale=4)["coffee"].shape == (2, 3, 3)
    name = encoding_name(study.config, "sam_diffsr")
    values = tmp_path / "work/encodings/demo_train/felzenszwalb_fine" / f"{name}.npz"
    encode(tmp_path / "data/masks/demo_train/felzenszwalb_fine", values, Encoding())
    e_sam = study.e_sam("sam_diffsr", "coffee")
    assert (e_sam.shape, e_sam.dtype) == ((2, 3), np.float32)
    assert e_sam[0, 0] == 0  # no mask is there
    assert len(np.unique(e_sam)) == 3
    with pytest.raises(UserError, match=r"no dataset 'demo_trian' in config\.yaml"):
        study.images("demo_trian")
    with pytest.raises(UserError, match="not prepared yet; run `snakemake --cores 2 data"):
        study.images("demo_test")
    with pytest.raises(UserError, match="variant 'srdiff' has no masks"):
        study.e_sam("srdiff", "coffee")


def test_two_variants_are_compared_as_a_table_does(study: Study) -> None:
    folder = study.root / "results/demo/scores"
    for run, value in (("bicubic-x4-s0", 20.5), ("rrdb-x4-s0", 21.5)):
        (folder / run).mkdir(exist_ok=True)
        weights = "none" if run.startswith("bicubic") else "ema"
        rows = [f"{run},{weights},demo_test,i{i},psnr_y,{value + i},,Y\n" for i in range(2)]
        (folder / run / "demo_test.csv").write_text(HEAD + "".join(rows))
    found = study.compare("rrdb", "bicubic")
    assert (found["mean"], found["n_images"], found["verdict"]) == (1.0, 2, "not decided")
    assert (
        found["words"]
        == "+1.00 dB, 1 seed, 2 images: too few images to claim anything, and too few seeds to decide"
    )
    with pytest.raises(UserError, match=r"srdiff-x4-s0/demo_test\.csv: not scored yet"):
        study.compare("srdiff", "bicubic")
    with pytest.raises(UserError, match="metric 'psnr' is none of"):
        study.compare("rrdb", "bicubic", "psnr")
    with pytest.raises(UserError, match="no image has a 'lpips'"):
        study.compare("rrdb", "bicubic", "lpips")


def test_results_that_are_kept_elsewhere(study: Study) -> None:
    (study.root / "results/kept").mkdir()
    (study.root / "results/demo").rename(study.root / "results/kept/demo")
    with pytest.raises(UserError, match="nothing is scored yet"):
        study.scores()
    kept = open_study("demo", study.root, results="results/kept")
    assert list(kept.scores()["run"]) == ["bicubic-x4-s0", "sam_diffsr-x4-s0"]
    assert list(kept.tables()) == ["table2"]


def test_the_process_of_a_run(study: Study) -> None:
    process = study.run("sam_diffsr").process
    assert (process.name, process.schedule.T) == ("published", 100)
    with pytest.raises(UserError, match="kind 'bicubic' has no diffusion"):
        study.run("bicubic").process  # noqa: B018


def test_a_run_has_the_seed_that_is_asked_for(study: Study) -> None:
    assert study.run("sam_diffsr").name == "sam_diffsr-x4-s0"
    assert study.run("sam_diffsr", scale=2, seed=7).name == "sam_diffsr-x2-s7"


def test_what_is_absent_is_named_with_what_makes_it(study: Study, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"no variant 'sam_difsr' in config\.yaml \(did you mean 'sam_diffsr'"
    ):
        study.run("sam_difsr")
    with pytest.raises(UserError, match=r"runs/sam_diffsr-x4-s0/model\.safetensors: no such model"):
        study.run("sam_diffsr").restore(np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(UserError, match=r"not made yet; run `snakemake --cores 2 masks --config study=demo`"):
        study.masks("low")
    with pytest.raises(UserError, match="no masks 'best'; it has high, medium, low"):
        study.masks("best")  # type: ignore[arg-type]
    shutil.rmtree(tmp_path / "results")
    with pytest.raises(UserError, match="nothing is scored yet; run `snakemake --cores 2 tables"):
        study.scores()
    with pytest.raises(UserError, match="no table is made yet"):
        study.tables()
    with pytest.raises(UserError, match="no study 'dmeo'"):
        open_study("dmeo", tmp_path)
