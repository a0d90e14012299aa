"""The rules of the figures: each is drawn alone, with what it needs before it; all of them from one study."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from tests.workflow import TINY, Workflow

pytestmark = pytest.mark.workflow


def _workflow(folder: Path, figures: dict[str, Any]) -> Workflow:
    """The tiny study with other settings of some figures, so that fewer variants are trained."""
    config = yaml.safe_load(TINY.read_text()) | {"figures": figures}
    workflow = Workflow.new(folder / "repository")
    workflow.config = folder / "tiny.yaml"
    workflow.config.write_text(yaml.safe_dump(config))
    return workflow


def test_a_figure_runs_what_it_needs_and_no_more(tmp_path: Path) -> None:
    workflow = _workflow(tmp_path, {"figure_steps": {"variants": ["srdiff"], "steps": [15, 20, 30]}})
    jobs = workflow.dry("results/figures/figure_steps.png").jobs
    # the study's own 15 steps are those of the tables: only the two others are sampled for the figure
    assert (jobs["sample_steps"], jobs["score_steps"], jobs["score_sets_steps"]) == (2, 2, 2)
    assert jobs["train_denoiser"] == 1
    assert jobs["draw"] == jobs["show_figure"] == 1
    shown = workflow.dry("results/demo/steps/srdiff-x4-s0/30/ema/demo_test.csv", "-p").text
    assert '"steps":30' in shown
    assert '"metrics":["lr_psnr","psnr_y"]' in shown
    assert '"stop_below_bicubic":null' in shown
    assert workflow.dry("results/figures/figure7.png").jobs["train_denoiser"] == 0
    assert workflow.dry("masks").jobs["draw"] == 1  # figure 7
    assert len(set(workflow.dry("figures").jobs)) > 10


def test_an_unknown_figure_is_one_line(tmp_path: Path) -> None:
    result = _workflow(tmp_path, {}).dry("results/figures/figure99.png")
    assert result.code != 0
    assert "no figure 'figure99' in config.yaml; there are figure1a, figure1b" in result.text


def test_the_rule_graph_and_what_makes_it_again(tmp_path: Path) -> None:
    workflow = _workflow(tmp_path, {})
    target = "results/figures/figure_rules.png"
    result = workflow(target)
    assert result.code == 0, result.text
    with Image.open(workflow.folder / target) as image:
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.01)
    text = (workflow.folder / "work/demo/rulegraph.dot").read_text()
    assert all(f'"{rule}"' in text for rule in ("train_denoiser", "gather", "draw", "sample_steps"))
    assert workflow.dry(target).nothing_to_do
    workflow.edit("config.yaml", 'title: "The workflow\'s rules"', 'title: "Rules"')
    assert workflow.dry(target).jobs == Counter(draw=1, show_figure=1)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_all_figures_of_the_tiny_study(tmp_path: Path) -> None:
    few = ["srdiff", "sam_diffsr"]
    workflow = _workflow(
        tmp_path,
        {
            "figure1b": {"variants": ["bicubic", *few]},
            "figure5": {"variants": ["bicubic", "rrdb", *few]},
            "figure_steps": {"variants": few, "steps": [20], "metrics": ["psnr_y"]},
            "figure_curves": {"variants": few},
            "figure_published": {"tables": ["table2"]},
        },
    )
    result = workflow("figures")
    assert result.code == 0, result.text
    names = list(yaml.safe_load((workflow.folder / "config.yaml").read_text())["figures"])
    for folder in ("results/figures", "results/demo/figures"):
        found = {path.name for path in (workflow.folder / folder).iterdir()}
        assert found == {f"{name}.{suffix}" for name in names for suffix in ("png", "pdf")}
    for name in names:
        with Image.open(workflow.folder / f"results/figures/{name}.png") as image:
            assert image.info["Description"].startswith("Study demo")
            assert image.convert("L").getextrema() != (255, 255)
    assert workflow.dry("figures").nothing_to_do
    # a label re-makes the tables and figures that show it, and samples nothing
    workflow.edit("config.yaml", "rrdb: {label: RRDB (encoder alone)", "rrdb: {label: RRDB")
    jobs = workflow.dry("figures").jobs
    assert set(jobs) == {"gather", "draw", "show_figure", "figures"}
