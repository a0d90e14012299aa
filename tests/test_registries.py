"""A metric and a kind of figure are one entry and one function each; nothing else knows of them by name."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samdiffsr.config.load import load_config
from samdiffsr.config.recipes.figures import figure_recipe
from samdiffsr.config.recipes.stages import score_recipe
from samdiffsr.config.recipes.tables import table_recipe
from samdiffsr.core.errors import UserError
from samdiffsr.core.files import write_csv
from samdiffsr.evaluation.image import ImageMetrics, Pair
from samdiffsr.evaluation.metrics import METRICS, ImageMetric
from samdiffsr.evaluation.scores import IMAGE_COLUMNS, image_row
from samdiffsr.evaluation.stages import score
from samdiffsr.reporting.figures.draw import draw
from samdiffsr.reporting.figures.recipe import OfImages
from samdiffsr.reporting.figures.registry import KINDS, Kind
from samdiffsr.reporting.figures.spec import OfTables
from samdiffsr.reporting.figures.style import Inputs, Page, page
from samdiffsr.reporting.frames import read_scores
from samdiffsr.reporting.tables.differences import differences
from samdiffsr.reporting.tables.gather import gather
from samdiffsr.reporting.tables.render import markdown
from samdiffsr.workflow import arguments
from samdiffsr.workflow.inputs import figures as inputs
from tests.report_example import PUBLISHED, example_config, make_example


def brightest(pair: Pair, metrics: ImageMetrics) -> float:
    """The toy metric: SR's brightest value."""
    return float(pair.sr.max())


def lines(recipe: OfImages, inputs: Inputs) -> Page:
    """The toy kind of figure: the mean score of each method of its tables."""
    figure, scores = page(3, 2), read_scores(inputs["scores"])
    means = [scores[scores["run"].isin(row.runs)]["number"].mean() for row in recipe.rows]
    figure.subplots().plot(means)
    return Page(figure, [f"Means: {', '.join(f'{mean:.1f}' for mean in means)}."])


@pytest.fixture
def toys() -> Iterator[None]:
    METRICS.register("toy", ImageMetric("Toy", f"{__name__}:brightest", 1, +1, "grey levels", ratio=True))
    KINDS.register("toy", Kind(f"{__name__}:lines", OfTables, OfImages, ("table_scores",)))
    yield
    METRICS.remove("toy")
    KINDS.remove("toy")


@pytest.mark.usefixtures("toys")
def test_a_toy_metric_is_scored_compared_and_stands_in_a_table(tmp_path: Path) -> None:
    table = {
        "title": "Toys", "datasets": ["set"], "metrics": ["toy"], "rows": ["bicubic", "srdiff", "sam_diffsr"],
        "differences": [{"of": "sam_diffsr", "minus": "srdiff"}],
    }  # fmt: skip
    config = example_config(tables={"table2": table})
    make_example(tmp_path)
    told = score_recipe(config, 4).but(stop_below_bicubic=None)
    assert told.metrics == ("toy",)
    stores, scores = tmp_path / "stores/set", []
    _lr(stores)
    for run in ("bicubic-x4-s0/none", "srdiff-x4-s0/ema", "sam_diffsr-x4-s0/ema"):
        manifest = tmp_path / "results/samples" / run / "set.json"
        scores.append(tmp_path / f"{run.partition('/')[0]}.csv")
        score(scores[-1].stem, "set", [manifest], stores / "hr", stores / "lr-x4", scores[-1], told)
    recipe = table_recipe(config, "table2")
    tidy = gather(recipe, scores, [], PUBLISHED, tmp_path / "wide.csv", tmp_path / "tidy.csv")
    with open(tmp_path / "wide.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(0 < float(row["Urban100 Toy (grey levels)"]) <= 255 for row in rows)
    (claim,) = differences(recipe, scores, PUBLISHED, tmp_path / "d.csv")
    assert claim["kind"] == "ratio"
    assert "| Toy (grey levels) |" in markdown(recipe, tidy, [])


def _lr(stores: Path) -> None:
    from samdiffsr.data.store import Store, StoreWriter

    hr = Store(stores / "hr")
    with StoreWriter(stores / "lr-x4") as writer:
        for name in hr.names:
            image = hr[hr.index(name)]
            height, width = (n - n % 8 for n in image.shape[:2])
            writer.add(name, np.ascontiguousarray(image[:height:4, :width:4]))


@pytest.mark.usefixtures("toys")
def test_a_toy_kind_of_figure_is_drawn_from_the_scores_of_its_tables(tmp_path: Path) -> None:
    figure = {"kind": "toy", "title": "Playing", "tables": ["table4", "table2"]}
    config = example_config(figures={"figure_toy": figure})
    runs = ("srdiff-x4-s0", "bicubic-x4-s0", "sam_diffsr-x4-s0")  # the first is in both tables
    asked = inputs.figure(config, "figure_toy")
    assert asked == {"scores": [f"results/made/scores/{run}/set.csv" for run in runs]}
    assert arguments.figure(config, "figure_toy") == ["--inputs", *(f"scores={p}" for p in asked["scores"])]
    files = []
    for level, run in enumerate(runs):
        row = image_row(
            run=run, weights="ema", dataset="set", image="a", metric="psnr_y", value=level + 0.5,
            why_empty="", protocol="",
        )  # fmt: skip
        files.append(tmp_path / f"{run}.csv")
        write_csv(files[-1], IMAGE_COLUMNS, [row])
    draw(figure_recipe(config, "figure_toy"), {"scores": files}, [tmp_path / "toy.png"])
    with Image.open(tmp_path / "toy.png") as image:
        assert image.size == (900, 600)
        assert image.info["Title"] == "Playing"
        assert image.info["Description"].endswith("Means: 0.5, 1.5, 2.5.")


@pytest.mark.usefixtures("toys")
def test_what_each_kind_of_figure_reads_is_known() -> None:
    assert {name for kind in KINDS.values() for name in kind.reads} == set(inputs.READS)
    KINDS.replace("toy", Kind(f"{__name__}:lines", reads=("table_score",)))
    config = example_config(figures={"figure_toy": {"kind": "toy", "title": "Playing"}})
    with pytest.raises(UserError, match=r"input of figures 'table_score' is none of .*mean 'table_scores'"):
        inputs.figure(config, "figure_toy")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"metrics": ["psnr"]},
            r"table2\.metrics\.0: metric 'psnr' is none of .*mean 'psnr_y'",
        ),
        ({"metrics": ["toy"]}, r"metric 'toy' is none of"),
        ({"protocols": ["author"]}, r"protocols\.0: protocol 'author' is none of .*did you mean 'authors'"),
    ],
)
def test_a_misspelt_name_is_refused_with_the_nearest(root: Path, change: dict[str, Any], words: str) -> None:
    import yaml

    raw = yaml.safe_load((root / "config.yaml").read_text())
    raw["tables"]["table2"] |= change
    with pytest.raises(UserError, match=words):
        load_config(raw)
