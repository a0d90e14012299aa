"""The decision rule: what its page says is what the code uses, and each kept study cites a version."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest

from samdiffsr.config.overlays import configured
from samdiffsr.evaluation import decision
from samdiffsr.evaluation.compare import paired_difference
from samdiffsr.evaluation.crossed import power, spread
from tests.test_crossed import kept


def test_the_page_says_the_numbers_of_the_code(root: Path) -> None:
    page = (root / "docs/study/decision.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| ([a-z][^|]*?) \| (.*?) \|$", page, re.M))
    assert f"**Version {decision.VERSION}, " in page
    assert rows["smallest effect of interest"] == f"{decision.SMALLEST_EFFECT} dB"
    assert rows["equivalence margin"].startswith(f"{decision.SMALLEST_EFFECT} dB")
    assert rows["seeds"].startswith(f"{decision.SEEDS} trainings")
    needed = {float(e): int(n) for e, n in re.findall(r"^\| ([\d.]+) dB[^|]*\| (\d+) \|$", page, re.M)}
    assert set(needed) >= {decision.PUBLISHED_EFFECT, decision.SMALLEST_EFFECT}
    assert len(needed) == 3
    for effect, seeds in needed.items():
        assert decision.seeds_to_decide(effect) == seeds
    assert decision.needed_words(1) == (
        "to decide 0.74 dB: 3 seeds; 0.2 dB: 15 seeds (100 images, 80 % power; this study has 1)"
    )


def test_the_spread_planned_with_is_the_kept_studys(root: Path) -> None:
    a, b = (kept(root, method, decision.METRIC) for method in ("sam_diffsr", "srdiff"))
    assert tuple(spread(a - b)) == pytest.approx(tuple(decision.SPREAD), abs=1e-3)
    assert a.shape[1] == decision.IMAGES
    assert power(0.373, decision.SPREAD, decision.SEEDS, decision.IMAGES) == pytest.approx(0.8, abs=0.01)


def test_the_published_effect_is_the_papers(root: Path) -> None:
    with open(root / "paper/published_tables.csv", newline="", encoding="utf-8") as file:
        printed = {
            r["method"]: float(r["value"])
            for r in csv.DictReader(file)
            if (r["table"], r["scale"], r["dataset"], r["metric"]) == ("2", "4", "DIV2K", "psnr")
        }
    assert printed["SAM-DiffSR"] - printed["SRDiff"] == pytest.approx(decision.PUBLISHED_EFFECT)


def test_every_kept_study_cites_a_version(root: Path) -> None:
    text = (root / "results/kept/README.md").read_text(encoding="utf-8")
    cited = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|$", text, re.M))
    assert set(cited) == {path.name for path in (root / "results/kept").iterdir() if path.is_dir()}
    for words in cited.values():
        assert words.startswith("none: run before version 1") or re.fullmatch(r"version \d+.*", words)


def test_what_the_small_study_can_find_is_what_the_page_says(root: Path) -> None:
    page = (root / "docs/study/decision.md").read_text(encoding="utf-8")
    found = re.search(r"(\d+) trainings of each method\. With the spread above, .* ([\d.]+) dB", page)
    assert found
    config = configured(root / "config.yaml", [root / "results/kept/small.yaml"], study="small")
    assert len(config.chosen.seeds) == int(found[1])
    assert power(float(found[2]), decision.SPREAD, int(found[1]), decision.IMAGES) == pytest.approx(
        0.8, abs=0.01
    )
    assert (config.chosen.sampling.steps, config.chosen.sampling.pad) == (20, 1)


@pytest.mark.parametrize(
    ("effect", "sd", "p_study", "conclusion"),
    [
        (0.5, 0.02, 0.01, "higher"),
        (0.1, 0.02, 0.01, "higher"),  # small, and the first line that applies
        (-0.5, 0.02, 0.01, "lower"),
        (0.5, 0.02, 0.2, "not decided"),  # one of many comparisons
        (0.05, 0.02, 0.2, "no difference of interest"),
        (-0.05, 0.02, None, "no difference of interest"),
        (0.05, 2.0, 0.9, "not decided"),
    ],
)
def test_the_first_line_that_applies_is_concluded(
    effect: float, sd: float, p_study: float | None, conclusion: str
) -> None:
    noise = np.random.default_rng(0).normal(size=(8, 1)) * sd
    found = paired_difference(np.full((8, 20), 25.0) + effect + noise - noise.mean(), np.full((8, 20), 25.0))
    assert decision.conclusion(found, p_study) == conclusion


def test_fewer_seeds_than_a_claim_takes_conclude_nothing() -> None:
    found = paired_difference(25 + np.eye(2, 20) / 100, np.full((2, 20), 25.0))
    assert decision.conclusion(found, 0.001) == "not decided"


def test_the_overlay_for_the_reduced_study_asks_what_the_rule_does(root: Path) -> None:
    config = configured(root / "config.yaml", [root / "results/kept/reduced.yaml"], study="reduced")
    assert len(config.chosen.seeds) == decision.SEEDS
    assert config.chosen.sampling.pad == 1
    assert "urban100" in config.chosen.test_sets
    claimed = {(d.of, d.minus) for d in config.tables["tables3"].differences}
    assert claimed >= {("sam_diffsr", other) for other in ("srdiff", "placebo_other", "placebo_voronoi")}
