"""Figures from small made inputs: what is plotted is what the files say, and what is missing is said."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import zlib
from collections.abc import Iterator
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import matplotlib
import networkx as nx
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from matplotlib.text import Text
from PIL import Image
from pydantic import ValidationError

from samdiffsr.cli.app import main
from samdiffsr.config.load import load_config
from samdiffsr.config.reading import read_mapping
from samdiffsr.config.recipes.figures import figure_recipe
from samdiffsr.core.errors import UserError
from samdiffsr.core.files import write_csv
from samdiffsr.data.images import write_png
from samdiffsr.data.prepare import build_empty_store
from samdiffsr.data.store import StoreWriter
from samdiffsr.diffusion.process import Maps, consistent
from samdiffsr.diffusion.registry import FORMULATIONS, Arm
from samdiffsr.evaluation.artifact import artifact_map
from samdiffsr.evaluation.compare import paired_difference
from samdiffsr.evaluation.scores import IMAGE_COLUMNS as SCORE_COLUMNS
from samdiffsr.evaluation.scores import SET_COLUMNS
from samdiffsr.reporting.figures import (
    artifacts,
    crops,
    curves,
    gain,
    metrics,
    modulation,
    noise,
    published,
    rules,
    seeds,
    split,
    steps,
    style,
)
from samdiffsr.reporting.figures.readers import psnr_y
from samdiffsr.reporting.figures.recipe import CropsRecipe, FigureRow, MetricsRecipe, Shown
from samdiffsr.reporting.figures.registry import KINDS, read_recipe
from samdiffsr.reporting.tables.gather import TIDY_COLUMNS
from samdiffsr.reporting.tables.published import PRINTED, read_published
from samdiffsr.sampling.recipe import BicubicRecipe

DIFFUSION = {"steps": 100, "s": 0.008, "beta_max": 0.999, "residual_scale": 2.0}
METHODS = ("bicubic", "srdiff", "sam_diffsr")


def _row(variant: str, **more: Any) -> FigureRow:
    told = {
        "variant": variant,
        "label": variant.upper(),
        "published": "",
        "kind": "bicubic" if variant == "bicubic" else "denoiser",
        "masks": "fine" if variant == "sam_diffsr" else None,
        "level": "high" if variant == "sam_diffsr" else None,
        "formulation": "published" if variant == "sam_diffsr" else "none",
        "runs": (f"{variant}-x4-s0",),
        "weights": ("none",) if variant == "bicubic" else ("ema", "raw"),
        "sampling": "not random" if variant == "bicubic" else "20 of 100 steps",
    }
    return FigureRow(**(told | more))


def _rows(*variants: str) -> tuple[FigureRow, ...]:
    return tuple(_row(name) for name in variants or METHODS)


def _recipe(kind: str, *variants: str, **more: Any) -> Any:
    """A recipe of a kind: what `more` says, and what is left of its fields from the same made study."""
    told = {
        "kind": kind, "title": "A title", "study": "demo", "comparable": False, "checkpoints": "trained",
        "notes": (), "scale": 4, "rows": _rows(*variants), "datasets": (Shown(name="test", label="Test"),),
        "train_set": "train", "diffusion": DIFFUSION,
    }  # fmt: skip
    model = KINDS[kind].recipe
    kept = {k: v for k, v in told.items() if k in model.model_fields}
    return model.model_validate(kept | more)


def _words(page: style.Page) -> str:
    figure = page.figure.get_figure(root=True)
    return "\n".join([*(text.get_text() for text in figure.findobj(Text)), *page.notes])


def _dots(axes: Any) -> list[list[float]]:
    """The points of all scatters."""
    scatters = [c for c in axes.collections if isinstance(c, PathCollection)]
    return [point for scatter in scatters for point in scatter.get_offsets().tolist()]


def _bars(axes: Any) -> list[np.ndarray]:
    """The error bars' two ends."""
    return [container.lines[2][0].get_segments()[0] for container in axes.containers]


def _axes(page: style.Page) -> list[Any]:
    return [axes for axes in page.figure.get_figure(root=True).axes if axes.axison]


# ---- images ----

SHAPE = (70, 90)  # the protocol crops it to 64 x 88


@pytest.fixture
def images(tmp_path: Path) -> dict[str, list[Path]]:
    """Two test images; bicubic and, less, srdiff disturb a patch of "b", sam_diffsr a little one of "a"."""
    rng = np.random.default_rng(0)
    truths = {name: rng.integers(60, 190, (*SHAPE, 3), np.uint8) for name in "ab"}
    with StoreWriter(tmp_path / "stores/test/hr") as writer:
        for name, truth in truths.items():
            writer.add(name, truth)
    manifests, sampled = [], BicubicRecipe(scale=4).model_dump(mode="json")
    for row in _rows():
        folder = tmp_path / "samples" / row.runs[0] / row.weights[0]
        made = []
        for name, truth in truths.items():
            image = truth[:64, :88].copy()
            image[0, 0] += 1  # so that no PSNR is that of equal images
            if (row.variant, name) == ("bicubic", "b"):
                image[:16, 64:80] += 60
            if (row.variant, name) == ("srdiff", "b"):
                image[40:56, 16:32] += 40
            if (row.variant, name) == ("sam_diffsr", "a"):
                image[8:24, 48:64] += 10
            write_png(folder / "test" / f"{name}.png", image)
            digest = hashlib.sha256((folder / "test" / f"{name}.png").read_bytes()).hexdigest()
            made.append({"name": name, "sha256": digest})
        (folder / "test.json").write_text(json.dumps({"images": made, "recipe": sampled}))
        manifests.append(folder / "test.json")
    return {"manifests": manifests, "hr": [tmp_path / "stores/test/hr.json"]}


def _crops(**more: Any) -> CropsRecipe:
    return _recipe("crops", **{"crops": (), "size": 16, "count": 2, **more})


def test_crops_are_found_where_the_methods_differ_most_the_best_of_each_image_first(
    images: dict[str, list[Path]],
) -> None:
    samples = crops.Samples(_crops(), images["manifests"], images["hr"])
    found = crops.find_crops(samples, _crops().datasets, 16, 2)
    assert found == [("test", "b", (16, 40, 16, 16)), ("test", "a", (48, 8, 16, 16))]
    boxes = [box for _, name, box in crops.find_crops(samples, _crops().datasets, 16, 7) if name == "b"]
    assert len(boxes) >= 3
    assert all(abs(p[0] - q[0]) >= 16 or abs(p[1] - q[1]) >= 16 for p, q in pairwise(boxes))


def test_crops_keep_away_from_the_border_where_they_can() -> None:
    difference = np.zeros((64, 40))
    difference[-1], difference[30, 20] = 100, 1
    ((_, (x, y, w, h)),) = crops._places(difference, 16, 1)
    assert x <= 20 < x + w
    assert y <= 30 < y + h
    ((_, box),) = crops._places(difference, 64, 1)  # no smaller than the image
    assert box == (0, 0, 40, 64)


def test_every_method_has_its_crop_and_the_crops_psnr(images: dict[str, list[Path]]) -> None:
    box = [16, 40, 20, 12]
    wanted = [{"dataset": "test", "image": "b", "box": box}]
    page = crops.draw(_crops(crops=wanted), images)
    whole, *parts = _axes(page)
    assert [p.get_bbox().bounds for p in whole.patches[:1]] == [tuple(box)]
    assert whole.images[0].get_array().shape == (64, 88, 3)
    assert [a.get_title().split("\n")[0] for a in parts] == ["HR", "BICUBIC", "SRDIFF", "SAM_DIFFSR"]
    truth, _, srdiff, _ = (np.asarray(a.images[0].get_array()) for a in parts)
    assert truth.shape == (12, 20, 3)
    assert parts[2].get_title() == f"SRDIFF\n{psnr_y(srdiff, truth):.2f} dB"
    assert 15 < psnr_y(srdiff, truth) < 25
    assert "automatically" not in _words(page)
    assert "In dB: PSNR-Y of the crop, not of the image." in page.notes


def test_crops_of_images_without_truth_say_nothing_of_db(images: dict[str, list[Path]]) -> None:
    build_empty_store(images["hr"][0].with_suffix(""))
    page = crops.draw(_crops(crops=[{"dataset": "test", "image": "b", "box": [16, 40, 20, 12]}]), images)
    assert "No truth: b" in _words(page)
    assert "dB" not in _words(page)


def test_a_crop_outside_its_image_is_refused(images: dict[str, list[Path]]) -> None:
    wanted = [{"dataset": "test", "image": "b", "box": [70, 0, 19, 10]}]
    with pytest.raises(UserError, match=r"crop \[70, 0, 19, 10\] .* outside test/b: 88 x 64 pixels"):
        crops.draw(_crops(crops=wanted), images)
    wanted = [{"dataset": "test", "image": "nobody", "box": [0, 0, 9, 9]}]
    with pytest.raises(UserError, match="'nobody'"):
        crops.draw(_crops(crops=wanted), images)


def test_a_missing_image_is_said_and_a_changed_one_refused(images: dict[str, list[Path]]) -> None:
    path = images["manifests"][1].with_suffix("") / "b.png"
    path.unlink()
    wanted = [{"dataset": "test", "image": "b", "box": [0, 0, 9, 9]}]
    page = crops.draw(_crops(crops=wanted), images)
    assert "no image" in _words(page)
    assert "Without an image here: SRDIFF." in page.notes
    path.write_bytes((path.parent / "a.png").read_bytes())
    with pytest.raises(UserError, match=r"b\.png: is not the file that was sampled"):
        crops.draw(_crops(crops=wanted), images)


def test_artifact_maps_share_one_scale(images: dict[str, list[Path]]) -> None:
    page = artifacts.draw(_recipe("artifacts", images=[], count=1), images)
    shown = [axes for axes in _axes(page) if axes.images and axes.images[0].get_array().ndim == 2]
    assert [a.get_title().split("\n")[0] for a in shown] == [name.upper() for name in METHODS]
    assert len({id(a.images[0].norm) for a in shown}) == 1
    assert "HR: b" in _words(page)  # where the scores differ most
    samples = crops.Samples(_crops(), images["manifests"], images["hr"])
    wanted = artifact_map(samples.restored(samples.rows[1], "test", "b"), samples.truth("test", "b"))
    np.testing.assert_array_equal(shown[1].images[0].get_array(), wanted)
    assert shown[1].get_title() == f"SRDIFF\n{100 * wanted.mean():.3f}"
    nothing = artifacts.draw(_recipe("artifacts", images=["nobody"], count=1), images)
    assert "No method has restored an image of nobody" in _words(nothing)


# ---- metric against metric ----


def _tidy(path: Path, values: dict[tuple[str, str], float | str], **more: str) -> Path:
    """(method, metric) -> mean of the only seed, or why there is none."""
    rows = []
    for (method, metric), value in values.items():
        for weights in ("ema", "raw"):
            row = dict.fromkeys(TIDY_COLUMNS, "") | {
                "table": "table2", "method": method, "variant": method.lower(), "run": "r",
                "weights": weights, "dataset": "Test", "scale": "4", "metric": metric, "n": "5", **more,
            }  # fmt: skip
            if isinstance(value, str):
                row["why_empty"] = value
            else:
                row["mean"] = f"{value if weights == 'ema' else -1:.6f}"  # raw weights are not the headline
            rows.append(row)
    write_csv(path, TIDY_COLUMNS, rows)
    return path


MEASURED = {
    ("SRDiff", "psnr_y"): 25.0, ("SRDiff", "artifact"): 1.5, ("SRDiff", "kid_clean"): 0.002,
    ("SAM-DiffSR", "psnr_y"): 25.5, ("SAM-DiffSR", "artifact"): 1.2, ("SAM-DiffSR", "kid_clean"): 0.001,
    ("SRDiff", "lpips"): "no weights; download them", ("SAM-DiffSR", "lpips"): "no weights; download them",
}  # fmt: skip


def _metrics(**more: Any) -> MetricsRecipe:
    common = {"metrics": ["psnr_y", "artifact", "kid_clean"], "against": "", "published": []}
    return _recipe("metrics", tables=["table2", "table3"], **{**common, **more})


def test_points_are_the_tables_values_in_the_columns_unit(tmp_path: Path, root: Path) -> None:
    inputs = {
        "tables": [_tidy(tmp_path / "t.csv", MEASURED)],
        "published": [root / "paper/published_tables.csv"],
    }
    page = metrics.draw(_metrics(metrics=["psnr_y", "artifact", "kid_clean", "lpips"]), inputs)
    axes = _axes(page)
    assert len(axes) == 3  # all pairs but those with LPIPS
    assert [(a.get_xlabel(), a.get_ylabel()) for a in axes] == [
        ("PSNR-Y (dB)", "Artifact"),
        ("PSNR-Y (dB)", "KID x 1000 (clean)"),
        ("Artifact", "KID x 1000 (clean)"),
    ]  # fmt: skip
    points = [a.collections[0].get_offsets().tolist() for a in axes]
    assert points == [[[25.0, 1.5], [25.5, 1.2]], [[25.0, 2.0], [25.5, 1.0]], [[1.5, 2.0], [1.2, 1.0]]]
    assert page.notes == ["LPIPS is not measured: no weights; download them."]
    colours = axes[0].collections[0].get_facecolors()
    assert [style.COLOURS.index(to_hex(colour)) for colour in colours] == [0, 1]


@settings(deadline=None, max_examples=20)
@given(st.lists(st.tuples(st.floats(20, 30), st.floats(0.5, 5)), min_size=1, max_size=8, unique=True))
def test_the_word_better_stands_at_the_arrows_head_clear_of_points(points: list[tuple[float, float]]) -> None:
    figure = style.page(2.15, 1.9)
    axes = figure.subplots()
    methods = [f"m{k}" for k in range(len(points))]
    metrics._panel(axes, pd.DataFrame(points, index=methods, columns=["psnr_y", "artifact"]), methods)
    figure.get_figure(root=True).canvas.draw()
    arrow, word = axes.texts
    (x, y), tail = arrow.xy, arrow.get_position()
    assert (x > tail[0], y < tail[1]) == (True, True)  # more PSNR and less artifact: to the lower right
    box = word.get_window_extent()
    place = box.transformed(axes.transAxes.inverted())
    assert abs((place.x0 + place.x1) / 2 - x) < 0.15
    assert abs(place.y1 - y) < 0.1
    clear = box.padded(3 * figure.get_figure(root=True).dpi / 72)  # by a marker's radius and more
    dots = axes.transData.transform(axes.collections[0].get_offsets())
    assert not any(clear.contains(*dot) for dot in dots)


def test_the_papers_values_have_panels_of_their_own(tmp_path: Path, root: Path) -> None:
    published = root / "paper/published_tables.csv"
    inputs = {"tables": [_tidy(tmp_path / "t.csv", MEASURED)], "published": [published]}
    recipe = _metrics(metrics=["psnr_y", "artifact"], published=["DIV2K"])
    measured, printed = _axes(metrics.draw(recipe, inputs))
    assert len(measured.collections[0].get_offsets()) == 2
    shown = printed.collections[0].get_offsets().tolist()
    values = read_published(published).set_index(PRINTED)["published"]
    point = [float(values[t, "SRDiff", "4", "DIV2K", m]) for t, m in (("2", "psnr"), ("3", "artifact"))]
    assert point in shown
    assert len(shown) == 12
    words = _words(metrics.draw(recipe, inputs))
    assert "DIV2K, published (other data, masks, networks)" in words
    assert "(other data" not in _words(metrics.draw(recipe.model_copy(update={"comparable": True}), inputs))


def test_with_nothing_to_draw_the_figure_says_what_is_missing(tmp_path: Path, root: Path) -> None:
    inputs = {
        "tables": [_tidy(tmp_path / "t.csv", MEASURED)],
        "published": [root / "paper/published_tables.csv"],
    }
    recipe = _metrics(metrics=["psnr_y", "artifact"], against="lpips", published=["DIV2K"])
    page = metrics.draw(recipe, inputs)
    assert not _axes(page)
    assert "LPIPS is not measured: no weights; download them." in _words(page)


def test_a_test_set_that_is_left_out_is_said(tmp_path: Path, root: Path) -> None:
    gone = _tidy(
        tmp_path / "u.csv", {("SRDiff", "psnr_y"): "test set left out: not in data/u"}, dataset="Urban100"
    )
    inputs = {
        "tables": [_tidy(tmp_path / "t.csv", MEASURED), gone],
        "published": [root / "paper/published_tables.csv"],
    }
    assert "Urban100: test set left out: not in data/u." in metrics.draw(_metrics(), inputs).notes


# ---- runs ----


def _scores(path: Path, run: str, values: dict[str, list[float]], dataset: str = "test") -> Path:
    """The values of images for each metric, of averaged weights."""
    common = {"run": run, "weights": "ema", "dataset": dataset, "why_empty": "", "protocol": "P"}
    rows = [
        common | {"image": f"i{k}", "metric": metric, "value": f"{value:.6f}"}
        for metric, each in values.items()
        for k, value in enumerate(each)
    ]
    write_csv(path, SCORE_COLUMNS, rows)
    return path


def test_quality_over_steps_and_time(tmp_path: Path) -> None:
    points, inputs = [], {"scores": [], "timings": [], "sets": []}
    for number, run in enumerate(("srdiff-x4-s0", "sam_diffsr-x4-s0")):
        for calls in (50, 20):
            stem = tmp_path / f"{run}-{calls}"
            points.append({"row": number, "steps": calls})
            inputs["scores"].append(
                _scores(stem.with_suffix(".csv"), run, {"psnr_y": [calls, calls + number]})
            )
            timing = {"device": "a CPU", "seconds": {"i0": calls / 10, "i1": calls / 5}}
            stem.with_suffix(".json").write_text(json.dumps(timing))
            inputs["timings"].append(stem.with_suffix(".json"))
            row = dict.fromkeys(SET_COLUMNS, "") | {
                "run": run, "weights": "ema", "dataset": "test", "metric": "fid_clean",
                "why_empty": "no weights",
            }  # fmt: skip
            write_csv(stem.with_suffix(".sets.csv"), SET_COLUMNS, [row])
            inputs["sets"].append(stem.with_suffix(".sets.csv"))
    rows = {"points": points, "metrics": ["psnr_y", "fid_clean"], "steps": [50]}
    page = steps.draw(_recipe("steps", "srdiff", "sam_diffsr", **rows), inputs)
    left, right = _axes(page)
    drawn = [[list(v) for v in line.get_data()] for line in left.lines if len(line.get_xdata())]
    assert drawn == [[[20, 50], [20, 50]], [[20, 50], [20.5, 50.5]]]
    assert [list(line.get_xdata()) for line in right.lines] == [[3.0, 7.5]] * 2
    assert page.notes[0] == "FID (clean) is not measured: no weights."


def test_training_curves_and_their_spread(tmp_path: Path) -> None:
    listed, paths = [], []
    for seed in (0, 1):
        path = tmp_path / f"{seed}.csv"
        path.write_text("step,loss,lr\n" + "".join(f"{10 * k},{(seed + 1) / k:g},1\n" for k in range(1, 21)))
        listed.append({"panel": "denoiser, L2 loss", "label": "SRDiff", "folder": "runs", "name": str(seed)})
        paths.append(path)
    page = curves.draw(_recipe("curves", "srdiff", curves=listed), {"curves": paths})
    (axes,) = _axes(page)
    recorded, second, mean = (line for line in axes.lines if len(line.get_xdata()))
    np.testing.assert_allclose(recorded.get_data(), [10 * np.arange(1, 21), 1 / np.arange(1, 21)], rtol=1e-5)
    np.testing.assert_allclose(2 * recorded.get_ydata(), second.get_ydata(), rtol=1e-5)
    smooth = curves.running_mean(pd.Series(recorded.get_ydata()), curves.SMOOTH)
    np.testing.assert_allclose(mean.get_ydata(), 1.5 * smooth, rtol=1e-5)
    assert len(axes.collections) == 1  # the band
    assert "Bands" in page.notes[0]
    one = curves.draw(_recipe("curves", "srdiff", curves=listed[:1]), {"curves": paths[:1]})
    assert not _axes(one)[0].collections
    assert "One seed" in one.notes[0]
    assert "nothing was trained" in _words(curves.draw(_recipe("curves", "srdiff", curves=[]), {}))


def test_validations_have_a_panel_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "curve.csv"
    path.write_text("step,loss,lr,psnr\n10,0.5,1,\n15,,,24.5\n20,0.4,1,\n30,0.3,1,25.5\n")
    listed = [{"panel": "denoiser, L2 loss", "label": "SRDiff", "folder": "runs", "name": "0"}]
    page = curves.draw(_recipe("curves", "srdiff", curves=listed), {"curves": [path]})
    losses, quality = _axes(page)
    assert [list(v) for v in losses.lines[0].get_data()] == [[10, 20, 30], [0.5, 0.4, 0.3]]
    assert [list(v) for v in quality.lines[0].get_data()] == [[15, 30], [24.5, 25.5]]
    assert quality.get_ylabel() == "PSNR of test patches (dB)"


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=30), st.integers(1, 9))
def test_a_running_mean_stays_between_the_extremes(values: list[float], width: int) -> None:
    smooth = curves.running_mean(pd.Series(values), width)
    assert len(smooth) == len(values)
    assert min(values) - 1e-9 <= smooth.min()
    assert smooth.max() <= max(values) + 1e-9


def _gain(tmp_path: Path, images: int, seeds: int = 3) -> style.Page:
    def row(variant: str, **more: Any) -> FigureRow:
        return _row(variant, runs=tuple(f"{variant}-x4-s{seed}" for seed in range(seeds)), **more)

    rng = np.random.default_rng(1)
    values = {
        name: rng.normal(mean, 1, (seeds, images))
        for name, mean in (("sam_diffsr", 27), ("mask_low", 26), ("srdiff", 25))
    }
    scores = [
        _scores(tmp_path / f"{n}{seed}.csv", f"{n}-x4-s{seed}", {"psnr_y": list(each)})
        for n, v in values.items()
        for seed, each in enumerate(v)
    ]
    columns = gain.SUMMARY_COLUMNS
    described = [
        {"level": "high", "found_on": "hr", "scale": "2", "masks_mean": "80", "uncovered": "0"},
        {"level": "low", "found_on": "lr", "scale": "2", "masks_mean": "5", "uncovered": "0"},
        {"level": "low", "found_on": "lr", "scale": "4", "masks_mean": "15", "uncovered": "0"},
    ]
    write_csv(tmp_path / "s.csv", columns, [dict.fromkeys(columns, "") | row for row in described])
    recipe = _recipe(
        "mask_gain", control=row("srdiff"), metric="psnr_y",
        rows=(row("sam_diffsr"), row("mask_low", level="low", masks="poor")),
        qualities=["masks_mean", "uncovered", "covering"],
    )  # fmt: skip
    page = gain.draw(recipe, {"scores": scores, "statistics": [tmp_path / "s.csv"]})
    (axes,) = _axes(page)
    points = dict(_dots(axes))
    bars = {bar[0, 0]: bar[:, 1] for bar in _bars(axes)}
    for x, name in ((80.0, "sam_diffsr"), (15.0, "mask_low")):
        wanted = paired_difference(values[name], values["srdiff"])
        assert points[x] == pytest.approx(wanted["mean"], abs=1e-5)
        assert (x in bars) == (wanted["ci_low"] is not None)
        if x in bars:
            assert bars[x] == pytest.approx([wanted["ci_low"], wanted["ci_high"]], abs=1e-5)
    assert {text.get_text() for text in axes.texts} == {"high", "low"}
    return page


def test_gain_against_mask_quality(tmp_path: Path) -> None:
    page = _gain(tmp_path, 8)
    assert "Not known for these images: covering of people's regions." in page.notes
    assert "The same at all levels: share of pixels in no mask." in page.notes
    assert "Intervals: 95 %, seeds and images both random." in page.notes
    assert not any("No interval" in note for note in page.notes)
    for few in (_gain(tmp_path, 3), _gain(tmp_path, 8, seeds=1)):
        assert any(note.startswith("No interval") for note in few.notes)
        assert not any(note.startswith("Intervals") for note in few.notes)


# ---- published against measured ----


def _published(tmp_path: Path, root: Path, comparable: bool, **tidy: str) -> style.Page:
    pair = {
        "table": "table2", "scale": 4, "of": "SAM-DiffSR", "minus": "SRDiff", "published_of": "SAM-DiffSR",
        "published_minus": "SRDiff",
    }  # fmt: skip
    row = dict.fromkeys(published.COLUMNS, "") | {
        **{key: str(pair[key]) for key in ("table", "scale", "of", "minus")}, "dataset": "Urban100",
        "metric": "psnr_y", "kind": "difference", "mean": "0.3", "ci_low": "0.1", "ci_high": "0.45",
    }  # fmt: skip
    write_csv(tmp_path / "d.csv", published.COLUMNS, [row, row | {"metric": "ssim_y", "mean": "9"}])
    values = {("SRDiff", "psnr_y"): 25.0, ("SAM-DiffSR", "psnr_y"): 25.3}
    table = _tidy(tmp_path / "t.csv", values, dataset="Urban100", std="0.5", **tidy)
    inputs = {
        "differences": [tmp_path / "d.csv"],
        "tables": [table],
        "published": [root / "paper/published_tables.csv"],
    }
    recipe = _recipe("published", metric="psnr_y", pairs=[pair], comparable=comparable)
    return published.draw(recipe, inputs)


def test_measured_differences_have_intervals_and_share_no_panel_with_published_ones(
    tmp_path: Path, root: Path
) -> None:
    page = _published(tmp_path, root, comparable=False)
    measured, printed = _axes(page)
    assert [x for x, _ in _dots(measured)] == [0.3]
    (bar,) = _bars(measured)
    assert bar[:, 0] == pytest.approx([0.1, 0.45])
    assert len(_dots(printed)) == 5
    assert not _bars(printed)
    assert round(25.54 - 25.08, 2) in {round(x, 2) for x, _ in _dots(printed)}
    filled, open_ = (panel.collections[-1].get_facecolors() for panel in (measured, printed))
    assert (to_hex(filled[0]), to_hex(open_[0])) == (style.COLOURS[0], "#ffffff")
    assert printed.get_title() == "published (other data, masks, networks)"
    assert "has none of the paper's data sets" in " ".join(page.notes)


def test_in_a_comparable_study_they_share_a_panel_and_values_are_laid_beside(
    tmp_path: Path, root: Path
) -> None:
    page = _published(tmp_path, root, comparable=True, published="25.08", n="9")
    both, values = _axes(page)
    assert (len(_dots(both)), len(_bars(both))) == (1 + 5, 1)
    assert values.get_xlabel() == "published PSNR-Y (dB)"
    half = 2.306 * 0.5 / 3  # Student's t with 8 degrees of freedom
    assert _bars(values)[0][:, 1] == pytest.approx([25.0 - half, 25.0 + half], abs=1e-3)
    assert _dots(values)[0] == [25.08, 25.0]


# ---- the process ----


@pytest.fixture
def structure(tmp_path: Path) -> dict[str, list[Path]]:
    """One image with a left and a right region, and its values."""
    from samdiffsr.masks.encode import encode
    from samdiffsr.masks.recipe import Encoding
    from samdiffsr.masks.regions import Regions
    from samdiffsr.masks.store import RegionStoreWriter

    image = np.full((32, 48, 3), 90, np.uint8)
    left = np.zeros((32, 48), np.bool_)
    left[:, :12] = True
    with StoreWriter(tmp_path / "hr") as writer:
        writer.add("one", image)
    with RegionStoreWriter(tmp_path / "labels") as writer:
        writer.add("one", Regions.from_masks([left, ~left]))
    encode(tmp_path / "labels", tmp_path / "values.npz", Encoding())
    names = {"hr": "hr.json", "labels": "labels.json", "values": "values.npz"}
    return {use: [tmp_path / name] for use, name in names.items()}


def test_the_noise_is_the_mixture_that_the_masks_make(structure: dict[str, list[Path]]) -> None:
    from samdiffsr.diffusion.schedule import cosine_schedule
    from samdiffsr.masks.encode import load_values

    recipe = _recipe("noise", "sam_diffsr", image="", times=[50, 10])
    page = noise.draw(recipe, structure)
    axes = _axes(page)
    pictures = [a for a in axes if a.images and a.get_title()]
    values = load_values(structure["values"][0])[0]
    shown = np.asarray(pictures[1].images[0].get_array())
    assert sorted(set(shown.ravel().tolist())) == sorted(values[1:].tolist())
    schedule = cosine_schedule()
    for panel, t in zip([a for a in axes if a.get_title().startswith("t = ")], (10, 50), strict=True):
        x, density = panel.lines[0].get_data()
        shift = float(schedule.phi[t - 1] / (1 - schedule.alpha_bar[t - 1]).sqrt())
        assert np.trapezoid(density, x) == pytest.approx(1, abs=1e-4)
        mean = shift * (0.25 * values[1] + 0.75 * values[2])
        assert np.trapezoid(x * density, x) == pytest.approx(mean, abs=1e-3)
        assert f"{shift:.2f}" in panel.get_title()
        x, plain = panel.lines[1].get_data()
        assert x[plain.argmax()] == pytest.approx(0, abs=0.05)


def halved_early(schedule: Any, strength: float = 1.0) -> Maps:
    shift, target = consistent(schedule, strength)
    return Maps(shift, target, mean=lambda e_sam: e_sam / 2)


@pytest.fixture
def by_half() -> Iterator[None]:
    FORMULATIONS.register("halved", Arm(f"{__name__}:halved_early", clip="wide"))
    yield
    FORMULATIONS.remove("halved")


@pytest.mark.usefixtures("by_half")
def test_the_noise_is_that_of_the_formulations_options_and_mean_map(structure: dict[str, list[Path]]) -> None:
    from samdiffsr.masks.encode import load_values

    rows = (_row("sam_diffsr", formulation="halved"),)
    told = {"rows": rows, "image": "", "times": [50], "formulation_options": {"strength": 3.0}}
    page = noise.draw(_recipe("noise", **told), structure)
    (panel,) = (a for a in _axes(page) if a.get_title().startswith("t = "))
    assert panel.get_title() == "t = 50: shift 3.00 $u$"
    values = load_values(structure["values"][0])[0]
    x, density = panel.lines[0].get_data()
    mean = 3 / 2 * (0.25 * values[1] + 0.75 * values[2])
    assert np.trapezoid(x * density, x) == pytest.approx(mean, abs=1e-3)
    assert page.notes == ["SAM_DIFFSR: the shift of x_t is m_t u, a function of e_sam (formulation halved)."]


def test_a_noise_figure_knows_its_variants_options(root: Path) -> None:
    raw = read_mapping(root / "config.yaml")
    assert "formulation_options" not in figure_recipe(load_config(raw), "figure1a").text()
    raw["variants"]["mine"] = {"base": "consistent", "label": "Mine", "options": {"strength": 2}}
    raw["figures"]["figure1a"]["variant"] = "mine"
    assert '"formulation_options":{"strength":2.0}' in figure_recipe(load_config(raw), "figure1a").text()


def test_a_scale_map_has_no_figure_of_shifts(structure: dict[str, list[Path]]) -> None:
    recipe = _recipe("noise", rows=(_row("sam_diffsr", formulation="scaled"),), image="", times=[50])
    with pytest.raises(UserError, match="'scaled' scales the noise, and it shows shifts"):
        noise.draw(recipe, structure)


def test_the_modulations_strength_is_the_formulations_tables() -> None:
    from samdiffsr.diffusion.process import formulation
    from samdiffsr.diffusion.schedule import cosine_schedule

    names = ["published", "released", "consistent"]
    page = modulation.draw(_recipe("modulation", formulations=names), {})
    shift, target, left = _axes(page)
    schedule = cosine_schedule()
    for number, name in enumerate(names):
        process = formulation(name, schedule)
        np.testing.assert_allclose(
            shift.lines[number].get_ydata(), process.m / (1 - schedule.alpha_bar).sqrt(), rtol=1e-12
        )
        np.testing.assert_allclose(target.lines[number].get_ydata(), process.k, rtol=1e-12)
    assert [line.get_label() for line in left.lines] == ["published", "consistent"]
    assert np.isnan(left.lines[0].get_ydata()[0])  # b_1 = 0


# ---- the rule graph ----


@st.composite
def _graphs(draw: Any) -> nx.DiGraph:
    n = draw(st.integers(1, 9))
    pairs = [(f"n{i}", f"n{j}") for i in range(n) for j in range(i + 1, n)]
    graph = nx.DiGraph()
    graph.add_nodes_from(f"n{i}" for i in range(n))
    graph.add_edges_from(draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else [])
    return graph


@settings(deadline=None, max_examples=50)
@given(_graphs())
def test_every_edge_leads_down_and_no_box_covers_another(graph: nx.DiGraph) -> None:
    graph = nx.transitive_reduction(graph)
    places, ways = rules.layout(graph)
    assert set(places) == set(graph)
    for (x, y), (u, v) in combinations(places.values(), 2):
        assert abs(x - u) >= rules.BOX[0] or abs(y - v) >= rules.BOX[1]
    ends = {place: name for name, place in places.items()}
    assert {(ends[way[0]], ends[way[-1]]) for way in ways} == set(graph.edges)
    assert all(a[1] > b[1] for way in ways for a, b in pairwise(way))


def test_the_rule_graph_is_read_and_drawn(tmp_path: Path) -> None:
    text = (
        'digraph {\n\t0[label = "all"];\n\t1[label = "train\\nscale: 4"];\n\t2[label = "data"];\n'
        "\t1 -> 0\n\t2 -> 1\n\t2 -> 0\n}"
    )
    (tmp_path / "g.dot").write_text(text)
    assert set(rules.read_graph(text).edges) == {("train", "all"), ("data", "train"), ("data", "all")}
    page = rules.draw(_recipe("rules"), {"graph": [tmp_path / "g.dot"]})
    assert {"all", "train", "data"} <= set(_words(page).split("\n"))
    (tmp_path / "g.dot").write_text("")
    with pytest.raises(UserError, match="holds no rule graph"):
        rules.draw(_recipe("rules"), {"graph": [tmp_path / "g.dot"]})


# ---- files ----


@pytest.fixture
def curve(tmp_path: Path) -> list[str]:
    """Arguments of `samdiffsr draw` for a small figure."""
    path = tmp_path / "c.csv"
    path.write_text("step,loss,lr\n1,2,1\n2,1,1\n")
    listed = [{"panel": "p", "label": "SRDiff", "folder": "runs", "name": "s"}]
    recipe = _recipe("curves", "srdiff", curves=listed, notes=["A note of the study."])
    return ["draw", "figure_x", "--inputs", f"curves={path}", "--recipe", recipe.text()]


def test_png_has_300_dpi_and_pdf_its_fonts_and_both_the_same_bytes_again(
    tmp_path: Path, curve: list[str]
) -> None:
    for name in ("a", "b"):
        main([*curve, "--out", str(tmp_path / f"{name}.png"), str(tmp_path / f"{name}.pdf")])
    for suffix in ("png", "pdf"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()
    with Image.open(tmp_path / "a.png") as image:
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.01)
        assert image.info["Title"] == "A title"
        assert "Study demo; training images of train; x4; seed 0." in image.info["Description"]
        assert "A note of the study." in image.info["Description"]
    pdf = (tmp_path / "a.pdf").read_bytes()
    assert b"/FontFile2" in pdf  # TrueType, embedded
    assert b"/Type3" not in pdf
    assert b"CreationDate" not in pdf
    texts = b"".join(
        zlib.decompress(s) for s in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.S) if s[:1] == b"x"
    )
    assert b"Tf" in texts  # text is text, not outlines


def test_drawing_leaves_no_global_state(tmp_path: Path, curve: list[str]) -> None:
    before = dict(matplotlib.rcParams)
    main([*curve, "--out", str(tmp_path / "a.png")])
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "curvs"}, "kind of figure 'curvs' is none of .*did you mean 'curves'"),
        ({"out": "a.svg"}, "figure_x: .*svg: figures are written as .png or .pdf"),
        ({"columns": "step,los,lr"}, "figure_x: .*c.csv: has no column 'loss'"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(
    tmp_path: Path, curve: list[str], capsys: pytest.CaptureFixture[str], change: dict[str, str], words: str
) -> None:
    recipe = json.loads(curve[-1])
    recipe["kind"] = change.get("kind", "curves")
    if "columns" in change:
        (tmp_path / "c.csv").write_text(f"{change['columns']}\n1,2,1\n")
    out = tmp_path / "out" / change.get("out", "a.png")
    with pytest.raises(SystemExit):
        main([*curve[:-1], json.dumps(recipe), "--out", str(out)])
    error = capsys.readouterr().err
    assert re.search(words, error)
    assert error.count("\n") == 1
    assert not list(tmp_path.glob("out/*"))


def test_a_figure_of_images_names_the_seed_that_they_are_of() -> None:
    rows = (_row("srdiff", runs=("srdiff-x4-s0", "srdiff-x4-s1")),)
    assert "; seed 0;" in style.conditions(_crops(rows=rows))
    assert "; seeds 0, 1;" in style.conditions(_metrics(rows=rows))


def test_looks_differ_in_grey_too() -> None:
    looks = [tuple(style.look(k).values()) for k in range(24)]
    assert len(set(looks)) == 24
    assert len({style.look(k)["marker"] for k in range(12)}) == 12
    assert len({str(style.line(k)["dashes"]) for k in range(6)}) == 6


# ---- every figure of the configuration ----


def test_every_shipped_figure_has_a_recipe_that_its_module_takes(root: Path) -> None:
    import yaml

    raw = yaml.safe_load((root / "config.yaml").read_text())
    for study in raw["studies"]:
        config = load_config({**raw, "study": study})
        assert {"1a", "1b", "2", "5", "6", "7", "8", "9"} <= {
            n.removeprefix("figure") for n in config.figures
        }
        assert {spec.kind for spec in config.figures.values()} == set(KINDS)
        for name in config.figures:
            recipe = figure_recipe(config, name)
            assert read_recipe(recipe.text()) == recipe
            assert style.conditions(recipe).startswith(f"Study {study}")
    points = figure_recipe(config, "figure_steps").points
    assert {point.steps for point in points} >= {100}  # the study's own number is always among them
    with open(root / "paper/published_tables.csv", newline="") as file:
        printed = {row["dataset"] for row in csv.DictReader(file)}
    assert set(figure_recipe(config, "figure8").published) <= printed


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{}", "kind of figure None is none of noise, "),
        ("[1]", "kind of figure None is none of noise, "),
        ("{", "--recipe: not valid JSON"),
        ('{"kind": "rules", "titel": 1}', "--recipe: titel: unknown key"),
    ],
)
def test_a_recipe_that_is_none_is_refused(text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        read_recipe(text)


def test_the_error_of_a_sample_split(tmp_path: Path) -> None:
    """A bar's two parts are the means of the files, over images and then seeds."""
    rows = (_row("srdiff", runs=("srdiff-x4-s0", "srdiff-x4-s1")), _row("sam_diffsr"), _row("released"))
    values = {
        "srdiff-x4-s0": ([40.0, 60.0], [10.0, 30.0]),
        "srdiff-x4-s1": ([70.0, 50.0], [25.0, 15.0]),
        "sam_diffsr-x4-s0": ([30.0, 50.0], [40.0, 20.0]),
    }
    scores = [
        _scores(tmp_path / f"{run}.csv", run, {"mean_error": mean, "sample_variance": variance})
        for run, (mean, variance) in values.items()
    ]
    page = split.draw(_recipe("split", rows=rows), {"scores": scores})
    (axes,) = _axes(page)
    bars = [(bar.get_x(), bar.get_width()) for bar in axes.patches]
    assert bars == [(0, 55), (0, 40), (55, 20), (40, 30)]
    assert [text.get_text() for text in axes.texts] == ["75.0", "70.0"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["SRDIFF", "SAM_DIFFSR"]
    hatches = [bar.get_hatch() for bar in axes.patches]
    assert hatches[0] == hatches[1] != hatches[2] == hatches[3]
    nothing = split.draw(_recipe("split", rows=rows[2:]), {"scores": scores})
    assert "No scores of several samples" in _words(nothing)


PAIR = ({"of": "sam_diffsr", "minus": "srdiff"},)


def _by_seed(folder: Path, seeds: int) -> tuple[Any, dict[str, list[Path]]]:
    """The method is 0.1, 0.2, ... dB above the control, a little more on each image."""
    rows = tuple(_row(name, runs=tuple(f"{name}-x4-s{s}" for s in range(seeds))) for name in METHODS[1:])
    scores = []
    for row in rows:
        for seed, run in enumerate(row.runs):
            more = 0.1 * (seed + 1) if row.variant == "sam_diffsr" else 0.0
            values = [25.0 + k + more * (1 + 0.01 * k) for k in range(8)]
            scores.append(_scores(folder / f"{run}.csv", run, {"psnr_y": values}))
    return _recipe("seeds", rows=rows, metric="psnr_y", differences=PAIR), {"scores": scores}


def test_each_seeds_difference_the_interval_and_the_power(tmp_path: Path) -> None:
    recipe, inputs = _by_seed(tmp_path, 3)
    page = seeds.draw(recipe, inputs)
    differences, power = _axes(page)
    dots, mean = (
        line.get_xdata() for line in differences.lines if line.get_alpha() or line.get_markersize() == 7
    )
    assert dots == pytest.approx([0.1035, 0.207, 0.3105])
    assert mean == pytest.approx([0.207])
    (bar,) = _bars(differences)
    assert bar[:, 0].mean() == pytest.approx(0.207)
    assert [text.get_text() for text in differences.get_yticklabels()] == ["SAM_DIFFSR\n− SRDIFF"]
    curve = next(line for line in power.lines if len(line.get_xdata()) > 2)
    assert curve.get_ydata()[0] == pytest.approx(0.05, abs=0.001)
    assert curve.get_ydata()[30] == pytest.approx(0.8, abs=0.01)  # the middle is what is detectable
    assert "with 3 seeds and 8 images" in _words(page)


def test_one_seed_has_a_point_and_claims_nothing(tmp_path: Path) -> None:
    page = seeds.draw(*_by_seed(tmp_path, 1))
    (differences,) = _axes(page)
    assert not _bars(differences)
    assert "a point alone claims nothing" in _words(page)
    empty = seeds.draw(_recipe("seeds", metric="ssim_y", differences=PAIR), _by_seed(tmp_path, 1)[1])
    assert "Nothing to draw" in _words(empty)


def test_a_metric_of_ratios_has_no_differences_to_draw() -> None:
    with pytest.raises(ValidationError, match="artifact is compared by ratios"):
        KINDS["seeds"].spec.model_validate(
            {"kind": "seeds", "title": "t", "tables": ["table3"], "metric": "artifact"}
        )
