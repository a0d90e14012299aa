"""Paired LR images, LR images without a truth, and a degradation of one's own: from the configuration to
stores, scores, tables, figures and the page."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samdiffsr.cli.app import main
from samdiffsr.config.config import Config
from samdiffsr.config.recipes.figures import figure_datasets, figure_recipe
from samdiffsr.config.recipes.report import report_recipe
from samdiffsr.config.recipes.stages import dataset_recipe, lr_recipe, score_recipe
from samdiffsr.config.recipes.tables import table_recipe
from samdiffsr.core.errors import UserError
from samdiffsr.core.recipe import Recipe
from samdiffsr.data.images import write_png
from samdiffsr.data.overlap import check_split
from samdiffsr.data.prepare import build_empty_store, build_hr_store, pack_lr_store
from samdiffsr.data.resize import downscale
from samdiffsr.data.store import Store
from samdiffsr.evaluation.recipe import ProtocolRecipe, SamplesRecipe, SetScoreRecipe
from samdiffsr.evaluation.samples import score_samples
from samdiffsr.evaluation.set import score_sets
from samdiffsr.evaluation.stages import score, score_protocols
from samdiffsr.reporting.figures.draw import draw
from samdiffsr.reporting.page.images import comparisons
from samdiffsr.reporting.tables.conditions import conditions
from samdiffsr.reporting.tables.differences import differences
from samdiffsr.reporting.tables.gather import gather
from samdiffsr.workflow.arguments import lr_content
from tests.report_example import PUBLISHED, SHIFT, example_config, make_example

DATASETS: dict[str, Any] = {
    "train": {"folder": "data/train", "source": "local"},
    "set": {"folder": "data/set", "source": "local", "label": "Urban100"},
}


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    waves = np.stack([np.sin(x / (5 + seed)), np.cos(y / 9), np.sin((x + y) / 7)], axis=-1)
    return (128 + 100 * waves).astype(np.uint8)


def with_set(**changes: Any) -> Config:
    return example_config(datasets={**DATASETS, "set": {**DATASETS["set"], **changes}})


def stage(recipe: Recipe, *words: str) -> None:
    main([*words, "--recipe", recipe.text()])


# ---- paired ----


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """hr/ and lr-x4/ with images of odd sides, which belong together."""
    for i, (height, width) in enumerate(((60, 92), (44, 40))):
        hr = picture(height, width, i)
        write_png(tmp_path / f"hr/{i}.png", hr)
        write_png(tmp_path / f"lr-x4/{i}.png", downscale(hr, 4, "end") // 2)  # no bicubic of it: darker
    build_hr_store(tmp_path / "hr", tmp_path / "store-hr")
    return tmp_path


def test_given_lr_images_are_packed_as_they_are_but_for_an_odd_row(pairs: Path) -> None:
    config = with_set(folder=str(pairs / "hr"), lr=str(pairs / "lr-x{scale}"))
    told = lr_recipe(config, "set", 4)
    assert told.folder == (str(pairs / "lr-x4"),)
    stage(told, "prepare-lr", "--hr", str(pairs / "store-hr"), "--out", str(pairs / "store-lr"))
    lr, hr = Store(pairs / "store-lr"), Store(pairs / "store-hr")
    assert lr.names == hr.names == ("0", "1")
    assert lr.meta["made"] == {"kind": "given"}
    assert lr[0].shape == (14, 22, 3)  # of 15 x 23: the truth is cropped to a multiple of 8, (56, 88)
    assert np.array_equal(lr[0], (downscale(picture(60, 92), 4, "end") // 2)[:14, :22])
    assert lr[1].shape == (10, 10, 3)
    before = lr_content(config, "set", 4)
    write_png(pairs / "lr-x4/1.png", picture(11, 10))
    assert lr_content(config, "set", 4) != before  # the rule's parameter: other images are packed again


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("size", r"lr-x4/1\.png: 12x11, and its HR image is 40x44: not 4 times as large"),
        ("missing", r"lr-x4: no LR image is called '1'"),
        ("more", r"lr-x4/2\.png: no HR image is called '2'"),
        ("broken", r"lr-x4/1\.png"),
    ],
)
def test_what_does_not_belong_together_is_named(pairs: Path, change: str, words: str) -> None:
    if change == "size":
        write_png(pairs / "lr-x4/1.png", picture(11, 12))
    elif change == "missing":
        (pairs / "lr-x4/1.png").unlink()
    elif change == "more":
        write_png(pairs / "lr-x4/2.png", picture(11, 10))
    else:
        (pairs / "lr-x4/1.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=words) as caught:
        pack_lr_store([pairs / "lr-x4"], pairs / "store-hr", pairs / "store-lr", 4)
    assert "\n" not in str(caught.value)
    assert not (pairs / "store-lr.json").exists()


def test_an_hr_image_without_a_partner_can_be_left_out(pairs: Path) -> None:
    (pairs / "lr-x4/1.png").unlink()
    build_hr_store(pairs / "hr", pairs / "store-hr", exclude=["1"])
    pack_lr_store([pairs / "lr-x4"], pairs / "store-hr", pairs / "store-lr", 4, exclude=["1"])
    assert Store(pairs / "store-lr").names == ("0",)
    with pytest.raises(UserError, match="exclude: no image '1'"):  # nothing else says that it is there
        pack_lr_store([pairs / "lr-x4"], pairs / "store-hr", pairs / "y", 4, exclude=["1"], truth=False)


def test_a_given_lr_folder_that_is_not_there_is_named(pairs: Path) -> None:
    config = with_set(folder=str(pairs / "hr"), lr=str(pairs / "lr-x{scale}"))
    with pytest.raises(UserError, match=r"dataset set: .*lr-x2: no such folder"):
        lr_content(config, "set", 2)


# ---- the configuration ----


def test_each_data_set_has_its_own_way_to_lr() -> None:
    """What says nothing keeps its recipes' text."""
    plain = with_set()
    assert lr_recipe(plain, "set", 4).text() == '{"rounding":"each_axis","scale":4}'
    assert "reference" not in dataset_recipe(plain, "set").text()
    blind = with_set(degradation={"kind": "real_esrgan", "seed": 5})
    assert lr_recipe(blind, "train", 4) == lr_recipe(plain, "train", 4)
    told = lr_recipe(blind, "set", 4)
    assert told.degradation is not None
    assert told.degradation.seed == 5
    everywhere = example_config(degradation={"kind": "real_esrgan"})
    assert lr_recipe(everywhere, "train", 4) == lr_recipe(everywhere, "set", 4)
    other = example_config(
        degradation={"kind": "real_esrgan"},
        datasets={**DATASETS, "set": {**DATASETS["set"], "degradation": {"rounding": "end"}}},
    )
    assert lr_recipe(other, "set", 4).text() == '{"rounding":"end","scale":4}'
    assert score_recipe(other, 4, "set").rounding == "end"


def test_a_table_says_where_lr_images_come_from() -> None:
    def notes(config: Config) -> str:
        return " ".join(table_recipe(config, "table2").notes[1:])

    assert notes(with_set()) == ""
    assert notes(with_set(lr="data/lr")) == "LR images that came with the HR images: Urban100."
    unknown = notes(with_set(reference="none"))
    assert unknown == "No ground truth, so that metrics without reference alone are measured: Urban100."
    blind = notes(with_set(degradation={"kind": "real_esrgan"}))
    assert blind == "LR images by Real-ESRGAN's blind degradation, seed 0: Urban100."
    both = notes(example_config(degradation={"kind": "real_esrgan"}))
    assert both == "LR images by Real-ESRGAN's blind degradation, seed 0: train, Urban100."


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"lr": "data/lr", "degradation": {"kind": "real_esrgan"}},
            r"datasets\.set: lr: .*either given or made",
        ),
        ({"reference": "none", "lr": "data/lr"}, r"datasets\.set: reference: without a truth"),
        ({"folder": "data/x{scale}"}, r"datasets\.set: folder: \{scale\} may stand in `lr` alone"),
        ({"source": "set5", "lr": "data/lr"}, r"datasets\.set: source: .*must be `local`"),
        ({"degradation": {"kind": "esrgan"}}, r"datasets\.set\.degradation"),
        ({"degradation": {"kind": "real_esrgan", "sead": 1}}, r"sead: unknown key"),
        ({"degradation": {"rounding": "up"}}, r"rounding"),
        ({"reference": "some"}, r"datasets\.set\.reference"),
    ],
)
def test_what_cannot_go_together_is_one_line(change: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        with_set(**change)
    assert "\n" not in str(caught.value)


def test_nothing_is_trained_on_images_without_a_truth() -> None:
    with pytest.raises(UserError, match=r"studies\.made\.train_set: 'train' has no truth to train on"):
        example_config(datasets={**DATASETS, "train": {**DATASETS["train"], "reference": "none"}})


# ---- without a truth ----


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report's example without its truth: an empty HR store, and LR images from a folder."""
    folder = tmp_path_factory.mktemp("world")
    make_example(folder)
    stores = folder / "stores/set"
    names = Store(stores / "hr").names
    for i, name in enumerate(names):
        write_png(folder / f"photos/{name}.png", picture(22, 30, i))
    stage(dataset_recipe(blind(), "set"), "prepare-hr", "--out", str(stores / "hr"))
    told = lr_recipe(blind(), "set", 4).but(folder=(str(folder / "photos"),))
    stage(told, "prepare-lr", "--hr", str(stores / "hr"), "--out", str(stores / "lr-x4"))
    assert Store(stores / "hr").names == ()
    assert Store(stores / "lr-x4").names == names
    return folder


def blind(**changes: Any) -> Config:
    table = {
        "title": "Photographs",
        "metrics": ["psnr_y", "lr_psnr", "lpips", "piqe"],
        "rows": ["bicubic", "srdiff", "sam_diffsr"],
        "differences": [{"of": "sam_diffsr", "minus": "srdiff"}],
    }
    datasets = {**DATASETS, "set": {**DATASETS["set"], "reference": "none"}}
    return example_config(datasets=datasets, metrics={"piqe": {}}, tables={"table2": table}, **changes)


def manifest(world: Path, variant: str) -> Path:
    weights = "none" if variant == "bicubic" else "ema"
    return world / f"results/samples/{variant}-x4-s0/{weights}/set.json"


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def scores(world: Path) -> list[Path]:
    told, stores, made = score_recipe(blind(), 4, "set"), world / "stores/set", []
    for variant in SHIFT:
        made.append(world / f"scores/{variant}-x4-s0.csv")
        place = [manifest(world, variant)]
        score(f"{variant}-x4-s0", "set", place, stores / "hr", stores / "lr-x4", made[-1], told)
    return made


def test_only_metrics_without_reference_have_values_and_the_others_say_why(scores: list[Path]) -> None:
    for row in rows(scores[0]):
        assert bool(row["value"]) == (row["metric"] == "piqe")
        wanted = {
            "piqe": "",
            "lr_psnr": "the LR image was not made by MATLAB's bicubic",
        }.get(row["metric"], "no ground truth")
        assert row["why_empty"] == wanted


def test_tables_and_differences_do_with_what_there_is(world: Path, scores: list[Path]) -> None:
    recipe = table_recipe(blind(), "table2")
    tidy = gather(recipe, scores, [], PUBLISHED, world / "wide.csv", world / "tidy.csv")
    for row in rows(world / "wide.csv"):
        assert row["Urban100 PIQE"]
        assert not row["Urban100 PSNR-Y (dB)"]
    said = " ".join(conditions(recipe, tidy))
    assert "Not measured: PSNR-Y (dB), LPIPS (no ground truth)." in said
    assert "LR-PSNR (dB) (the LR image was not made by MATLAB's bicubic)" in said
    found = {row["metric"]: row for row in differences(recipe, scores, PUBLISHED, world / "d.csv")}
    assert "words" in found["piqe"]
    assert not found["psnr_y"].get("words")


def test_other_scores_are_empty_and_say_why(world: Path) -> None:
    hr, out, place = world / "stores/set/hr", world / "other.csv", [manifest(world, "srdiff")]
    score_protocols("r", "set", place, hr, out, ProtocolRecipe(scale=4, protocols=("authors", "border")))
    assert {(row["value"], row["why_empty"]) for row in rows(out)} == {("", "no ground truth")}
    told = SetScoreRecipe(scale=4, metrics=("fid_clean",))

    class Network:
        sha256 = "0"

    score_sets("r", "set", place, hr, out, told, world / "cache", world, network=Network())  # type: ignore[arg-type]
    assert [(row["value"], row["why_empty"]) for row in rows(out)] == [("", "no ground truth")]


def test_samples_without_a_truth_are_not_split(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("samdiffsr.evaluation.samples._only_the_sampling_seed_differs", lambda sets: None)
    place, out = [manifest(world, "srdiff")] * 2, world / "samples.csv"
    told = SamplesRecipe(scale=4, metrics=("mean_error",))
    score_samples("r", "set", place, world / "stores/set/hr", out, told)
    assert {(row["value"], row["why_empty"]) for row in rows(out)} == {("", "no ground truth")}
    assert len(rows(out)) == 8


def test_nothing_of_it_is_found_among_the_training_images(world: Path) -> None:
    stores = world / "stores"
    check_split(world / "split.csv", ("train", stores / "train/hr"), [("set", stores / "set/hr")])
    assert rows(world / "split.csv") == []


@pytest.mark.parametrize(("kind", "shown"), [("crops", ["set"]), ("artifacts", [])])
def test_figures_of_images_show_what_there_is(world: Path, kind: str, shown: list[str]) -> None:
    spec = {"kind": kind, "title": "Pictures", "variants": [*SHIFT], "count": 1}
    config = blind(figures={"figure_x": spec})
    assert figure_datasets(config, config.figures["figure_x"]) == shown
    recipe = figure_recipe(config, "figure_x")
    inputs = {"manifests": [manifest(world, v) for v in SHIFT], "hr": [world / "stores/set/hr.json"]}
    draw(recipe, inputs, [world / f"{kind}.png"])
    assert (world / f"{kind}.png").stat().st_size > 1000


def test_the_gain_over_masks_has_no_data_set_to_show(world: Path, scores: list[Path]) -> None:
    from samdiffsr.masks.statistics import SUMMARY_COLUMNS

    spec = {"kind": "mask_gain", "title": "Gain", "variants": ["sam_diffsr"], "control": "srdiff"}
    config = blind(figures={"figure_x": spec})
    assert figure_datasets(config, config.figures["figure_x"]) == []
    recipe = figure_recipe(config, "figure_x")
    (world / "statistics.csv").write_text(",".join(SUMMARY_COLUMNS) + "\n")
    draw(recipe, {"scores": [], "statistics": [world / "statistics.csv"]}, [world / "gain.png"])
    assert (world / "gain.png").stat().st_size > 1000


def test_the_page_compares_methods_without_a_truth(world: Path, scores: list[Path]) -> None:
    for path in scores:
        target = world / "results/scores" / path.stem / "set.csv"
        target.write_bytes(path.read_bytes())
    told = report_recipe(blind())
    (view,) = comparisons(told.comparisons, world / "results", world / "stores", told.limits)
    assert len(view["images"]) == 8
    for image in view["images"]:
        assert all(image["files"][:-1])
        assert image["files"][-1] is None  # the truth
        assert set(image["values"]) == {""}


def test_an_empty_truth_is_a_store_like_any_other(tmp_path: Path) -> None:
    build_empty_store(tmp_path / "hr")
    assert (len(Store(tmp_path / "hr")), Store(tmp_path / "hr").meta["reference"]) == (0, "none")
