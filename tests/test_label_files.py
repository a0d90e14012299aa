"""Masks that other programs wrote, in three formats; and mask levels of any name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from samdiffsr.config.config import Config
from samdiffsr.config.load import load_config
from samdiffsr.config.recipes.figures import figure_recipe
from samdiffsr.config.recipes.stages import denoiser_recipe, statistics_recipe
from samdiffsr.config.recipes.tables import table_recipe
from samdiffsr.core.errors import UserError
from samdiffsr.masks.regions import Regions
from samdiffsr.masks.rle import write_rle
from samdiffsr.masks.segmenters.imported import Imported
from samdiffsr.masks.segmenters.registry import Imported as Settings
from samdiffsr.masks.segmenters.registry import Places
from samdiffsr.workflow import targets
from samdiffsr.workflow.availability import needed_weights

IMAGE = np.zeros((12, 17, 3), np.uint8)
LABELS = np.zeros((12, 17), np.int64)
LABELS[2:7, 3:11], LABELS[8:, :5] = 300, 7


def masks() -> np.ndarray:
    """Three masks that overlap, one of them empty."""
    found = np.zeros((3, 12, 17), bool)
    found[0, 2:9, 3:11] = found[1, 5:, 8:] = True
    return found


def imported(folder: Path, name: str = "a") -> Regions:
    regions: Regions = Imported(Settings(folder=str(folder)), Places())(IMAGE, name)
    return regions


def same(a: Regions, b: Regions) -> bool:
    return np.array_equal(a.labels, b.labels) and all(map(np.array_equal, a.members, b.members))


@pytest.mark.parametrize("kind", ["16 bit", "8 bit", "palette", "npz labels"])
def test_a_label_map_is_a_mask_a_value_and_0_is_in_none(tmp_path: Path, kind: str) -> None:
    labels = LABELS if kind in ("16 bit", "npz labels") else np.minimum(LABELS, 200)
    if kind == "16 bit":
        Image.fromarray(labels.astype(np.uint16)).save(tmp_path / "a.png")
    elif kind == "npz labels":
        np.savez_compressed(tmp_path / "a.npz", labels=labels.astype(np.int32))
    else:
        picture = Image.fromarray(labels.astype(np.uint8))
        if kind == "palette":
            picture.putpalette([9, 9, 9] * 256)  # the same colour for all: the indices count
        picture.save(tmp_path / "a.png")
    regions = imported(tmp_path)
    assert same(regions, Regions.from_partition(LABELS))
    assert regions.n_masks == 2
    assert np.array_equal(regions.mask(1), LABELS == 300)  # in the order of the values: 7, 300


def test_masks_in_npz_may_overlap_and_keep_what_is_said_of_them(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", masks=masks().astype(np.uint8), predicted_iou=[0.9, 0.8, 0.7])
    regions = imported(tmp_path)
    assert same(regions, Regions.from_masks(masks()))
    assert regions.per_mask["predicted_iou"].tolist() == [0.9, 0.8, 0.7]
    np.savez(tmp_path / "a.npz", masks=np.zeros((0, 12, 17), bool))
    assert imported(tmp_path).n_masks == 0


def test_all_three_formats_give_the_same_regions(tmp_path: Path) -> None:
    regions = Regions.from_partition(LABELS)
    for kind in ("json", "png", "npz"):
        (tmp_path / kind).mkdir()
    write_rle(tmp_path / "json/a.json", regions)
    Image.fromarray(LABELS.astype(np.uint16)).save(tmp_path / "png/a.png")
    np.savez(tmp_path / "npz/a.npz", masks=np.stack([regions.mask(i) for i in range(2)]))
    found = [imported(tmp_path / kind) for kind in ("json", "png", "npz")]
    assert all(same(each, regions) for each in found)


def test_masks_of_the_uncropped_image_are_cropped(tmp_path: Path) -> None:
    Image.fromarray(np.pad(LABELS, ((0, 3), (0, 5)), mode="edge").astype(np.uint16)).save(tmp_path / "a.png")
    assert same(imported(tmp_path), Regions.from_partition(LABELS))


def wrong(folder: Path, kind: str) -> None:
    match kind:
        case "colour":
            Image.fromarray(IMAGE).save(folder / "a.png")
        case "size":
            Image.fromarray(LABELS[:-1].astype(np.uint16)).save(folder / "a.png")
        case "jpeg":
            Image.fromarray(LABELS.astype(np.uint8)).save(folder / "a.png", format="JPEG")
        case "cut":
            Image.fromarray(LABELS.astype(np.uint16)).save(folder / "a.png")
            (folder / "a.png").write_bytes((folder / "a.png").read_bytes()[:60])
        case "two":
            np.savez(folder / "a.npz", masks=masks())
            Image.fromarray(LABELS.astype(np.uint16)).save(folder / "a.png")
        case "both":
            np.savez(folder / "a.npz", masks=masks(), labels=LABELS)
        case "floats":
            np.savez(folder / "a.npz", masks=masks() * 0.5)
        case "logits":
            np.savez(folder / "a.npz", masks=masks() * 3)
        case "columns":
            np.savez(folder / "a.npz", masks=masks(), predicted_iou=[1.0])
        case "pickle":
            np.savez(folder / "a.npz", masks=np.array([{"a": 1}], dtype=object))
        case "other":
            np.savez(folder / "b.npz", masks=masks())


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("colour", r"a\.png: in colour \(RGB\)"),
        ("size", r"a\.png: segments 11 x 17 pixels, the image has 12 x 17"),
        ("jpeg", r"a\.png: no PNG label map"),
        ("cut", r"a\.png: no PNG label map"),
        ("two", r"a\.npz and .*a\.png: two files of one image"),
        ("both", r"a\.npz: no masks in npz \(it must hold one of"),
        ("floats", r"a\.npz: .*not \(K, H, W\) of 0 and 1"),
        ("logits", r"a\.npz: .*not \(K, H, W\) of 0 and 1"),
        ("columns", r"a\.npz: .*predicted_iou"),
        ("pickle", r"a\.npz: no masks in npz"),
        ("other", r"image 'a': .*a\.json is missing"),
        ("nothing", r"no \.json, \.png or \.npz file in it"),
    ],
)
def test_a_wrong_file_is_named_in_one_line(tmp_path: Path, kind: str, words: str) -> None:
    wrong(tmp_path, kind)
    with pytest.raises(UserError, match=words) as caught:
        imported(tmp_path)
    assert "\n" not in str(caught.value)


def test_the_files_decide_the_digest_and_json_keeps_its_own(tmp_path: Path) -> None:
    def digest() -> str:
        return str(Imported(Settings(folder=str(tmp_path)), Places()).describe()["files"])

    write_rle(tmp_path / "a.json", Regions.from_partition(LABELS))
    first = digest()
    (tmp_path / "README.txt").write_text("of no matter")
    assert digest() == first
    np.savez(tmp_path / "b.npz", labels=LABELS)
    assert digest() != first


# ---- levels of any name ----

SEGMENTERS = ("sam", "sam2", "sam3", "hq_sam", "fine", "lr_masks")


@pytest.fixture
def six(root: Path) -> dict[str, Any]:
    """A table with a row for each of six segmenters, by levels of the study and by mask sets."""
    raw: dict[str, Any] = yaml.safe_load((root / "config.yaml").read_text())
    sets = {
        name: {"image": "hr", "segmenter": {"kind": "imported", "folder": f"masks/{name}"}}
        for name in SEGMENTERS
    }
    sets["lr_masks"]["image"] = "lr"
    raw["mask_sets"] |= sets
    raw["studies"]["demo"]["masks"] = {"high": "sam", "best": "sam2", "medium": "fine", "low": "lr_masks"}
    rows = {
        f"by_{name}": {"base": "sam_diffsr", "label": name, "masks": name}
        for name in SEGMENTERS
        if name != "sam2"
    }
    raw["variants"] |= rows | {"by_best": {"base": "sam_diffsr", "label": "best", "masks": "best"}}
    table = {"title": "Segmenters", "metrics": ["psnr_y"], "rows": [*rows, "by_best"]}
    raw["tables"], raw["figures"] = {"table4": table}, {"figure7": raw["figures"]["figure7"]}
    return raw


def test_a_table_compares_six_segmenters(six: dict[str, Any]) -> None:
    config = load_config(six)
    assert [row.masks for row in table_recipe(config, "table4").rows] == [
        "sam", "sam3", "hq_sam", "fine", "lr_masks", "sam2",
    ]  # fmt: skip
    trained = {
        structure.mask_set
        for variant in config.tables["table4"].variants
        if (structure := denoiser_recipe(config, config.runs(variant, 4)[0]).structure)
    }
    assert trained == set(SEGMENTERS)
    assert config.levels == {
        "high": "sam", "best": "sam2", "medium": "fine", "low": "lr_masks",
        "sam": "sam", "sam3": "sam3", "hq_sam": "hq_sam", "fine": "fine", "lr_masks": "lr_masks",
    }  # fmt: skip
    assert targets.training_masks(config) == ["sam", "sam2", "fine", "lr_masks-x4", "sam3", "hq_sam"]
    assert statistics_recipe(config, "demo_train", "sam3", 4).level == "sam3"
    assert statistics_recipe(config, "demo_train", "sam", 4).level == "high sam"
    shown = figure_recipe(config, "figure7").levels  # type: ignore[attr-defined]
    assert [level.heading for level in shown] == ["High", "Best", "Medium", "Low", "sam3", "hq_sam"]
    assert len(targets.level_regions(config)) == 6
    assert not needed_weights(config)


def test_a_placebo_of_a_mask_set_that_stands_for_itself(six: dict[str, Any]) -> None:
    six["variants"]["blind"] = {"base": "by_sam3", "label": "Placebo", "placebo": "voronoi"}
    six["tables"]["table4"]["rows"].append("blind")
    config = load_config(six)
    assert config.mask_set("blind") == "sam3_voronoi"
    assert config.mask_sets["sam3_voronoi"].segmenter.input_masks == "sam3"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"masks": "sam4"}, r"variants\.by_sam\.masks: no mask level of study 'demo', nor mask set, 'sam4'"),
        ({"masks": "lr_masks", "placebo": "voronoi"}, "masks found on LR images have none"),
        ({"masks": "Best"}, r"variants\.by_sam\.masks: string should match pattern"),
    ],
)
def test_a_level_that_nothing_has_is_refused(six: dict[str, Any], change: dict[str, Any], words: str) -> None:
    six["variants"]["by_sam"] |= change
    with pytest.raises(UserError, match=words):
        load_config(six)


def test_networks_that_see_masks_at_inference_get_some_found_on_lr_images(six: dict[str, Any]) -> None:
    def config(**masks: str) -> Config:
        six["studies"]["demo"]["masks"] = {"high": "sam", "best": "sam2", "medium": "fine", **masks}
        return load_config(six)

    assert config(low="sam3").inference_masks == "sam3"  # as the study says
    six["variants"].pop("mask_low")
    assert config(small="lr_masks").inference_masks == "lr_masks"
    with pytest.raises(UserError, match=r"variants\.sam_srdiff\.formulation: .*found on LR images"):
        config()
