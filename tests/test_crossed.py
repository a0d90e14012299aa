"""Seeds and images both random: the layout's variance, what a study can detect, and how many seeds decide."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from samdiffsr.evaluation.compare import paired_difference, paired_ratio
from samdiffsr.evaluation.crossed import (
    Spread,
    detectable,
    estimate,
    layout,
    power,
    seeds_needed,
    spread,
)

# Yields of penicillin: 5 blends (here: seeds) x 4 treatments (here: images). Box, Hunter and Hunter,
# Statistics for Experimenters, 1978, table 7.1: sums of squares 264, 70 and 226 with 4, 3 and 12 degrees.
PENICILLIN = np.array(
    [[89, 88, 97, 94], [84, 77, 92, 79], [81, 87, 87, 85], [87, 92, 89, 84], [79, 81, 80, 88]], dtype=float
)
MS_BLEND, MS_TREATMENT, MS_RESIDUAL = 264 / 4, 70 / 3, 226 / 12
SMALL = Spread(seed=0.22, image=0.33, residual=0.23)  # PSNR on BSDS100 in the study `pilot`
SEEDS = st.integers(0, 10_000)


def table(seed: int, seeds: int = 3, images: int = 14, of: Spread = SMALL) -> np.ndarray:
    rng = np.random.default_rng(seed)
    by_seed, by_image = rng.normal(0, of.seed, (seeds, 1)), rng.normal(0, of.image, (1, images))
    return by_seed + by_image + rng.normal(0, of.residual, (seeds, images))


def test_the_layout_is_a_textbooks_analysis_of_variance() -> None:
    found = layout(PENICILLIN)
    assert found.mean == 86
    assert found.seeds * 20 == pytest.approx(MS_BLEND, rel=1e-12)
    assert found.images * 20 == pytest.approx(MS_TREATMENT, rel=1e-12)
    assert found.residual * 20 == pytest.approx(MS_RESIDUAL, rel=1e-12)
    assert (found.df_seeds, found.df_images, found.df_residual) == (4, 3, 12)


def test_the_variance_of_the_mean_and_satterthwaites_degrees_of_freedom() -> None:
    found = estimate(PENICILLIN)
    combined = MS_BLEND + MS_TREATMENT - MS_RESIDUAL
    assert found.variance == pytest.approx(combined / 20, rel=1e-12)
    df = combined**2 / (MS_BLEND**2 / 4 + MS_TREATMENT**2 / 3 + MS_RESIDUAL**2 / 12)
    assert found.df == pytest.approx(df, rel=1e-12)
    assert found.floor == ""
    result = spread(PENICILLIN)
    assert result.seed**2 == pytest.approx((MS_BLEND - MS_RESIDUAL) / 4)
    assert result.image**2 == pytest.approx((MS_TREATMENT - MS_RESIDUAL) / 5)
    assert result.residual**2 == pytest.approx(MS_RESIDUAL)


@pytest.mark.parametrize(("axis", "floor", "df"), [(1, "images", 13), (0, "seeds", 2)])
def test_a_negative_component_leaves_the_larger_variance_alone(axis: int, floor: str, df: int) -> None:
    """Rows (or columns) of equal mean: less spread than the residual alone would give."""
    d = table(3)
    flat = d - d.mean(axis=axis, keepdims=True)
    found, of = estimate(flat), layout(flat)
    assert found.floor == floor
    assert found.df == df
    assert found.variance == (of.images if floor == "images" else of.seeds)


def test_seeds_that_do_not_pair_count_on_both_sides() -> None:
    a, b = table(1, seeds=3), table(2, seeds=5)
    found, of = estimate(a, b), layout(a, b)
    assert found.mean == pytest.approx(a.mean() - b.mean())
    assert of.seeds == pytest.approx(a.mean(1).var(ddof=1) / 3 + b.mean(1).var(ddof=1) / 5)
    assert of.images == pytest.approx((a.mean(0) - b.mean(0)).var(ddof=1) / 14)
    still = np.broadcast_to(b[:1], b.shape)  # a side that varies with images alone
    assert layout(a, still).seeds == pytest.approx(layout(a).seeds)
    assert layout(a, still).df_seeds == pytest.approx(2)


@settings(max_examples=50, deadline=None)
@given(SEEDS, st.integers(2, 6), st.integers(2, 20), st.floats(-50, 50), st.floats(0.01, 100))
def test_order_shift_sign_and_unit_do_not_matter(
    seed: int, seeds: int, images: int, shift: float, unit: float
) -> None:
    d = table(seed, seeds, images)
    rng = np.random.default_rng(seed)
    base = estimate(d)
    for other, mean, scale in (
        (d[rng.permutation(seeds)][:, rng.permutation(images)], base.mean, 1),
        (d + shift, base.mean + shift, 1),
        (-d, -base.mean, 1),
        (unit * d, unit * base.mean, unit),
    ):
        found = estimate(other)
        assert found.mean == pytest.approx(mean, rel=1e-9, abs=1e-9)
        assert found.variance == pytest.approx(scale**2 * base.variance, rel=1e-6)
        assert found.df == pytest.approx(base.df, rel=1e-4)


def test_many_layouts_at_once_are_those_one_by_one() -> None:
    many = np.stack([table(seed) for seed in range(20)])
    found = estimate(many)
    for k in range(20):
        one = estimate(many[k])
        assert [x[k] for x in found] == [pytest.approx(x) if x.dtype.kind == "f" else x for x in one]


def test_power_is_that_of_the_noncentral_t() -> None:
    for seeds, effect in ((3, 0.3), (5, 0.2), (12, 0.2)):
        still = Spread(seed=0.225, image=0, residual=0)  # then it is the t test over seeds
        df, shift = seeds - 1, effect / 0.225 * seeds**0.5
        bound = stats.t.ppf(0.975, df)
        wanted = stats.nct.sf(bound, df, shift) + stats.nct.cdf(-bound, df, shift)
        assert power(effect, still, seeds, 100) == pytest.approx(wanted, abs=2e-4)
    assert seeds_needed(0.5, Spread(1, 0, 0), 10**6) == 34  # Cohen's table: d = 0.5, 80 %, paired


@pytest.mark.parametrize("still", [Spread(0, 0, 0), Spread(1e-90, 1e-90, 0), Spread(1e-60, 0, 1e-60)])
def test_where_nothing_varies_every_effect_is_found(still: Spread) -> None:
    assert [power(effect, still, 8, 14) for effect in (-0.1, 1e-9)] == [1, 1]
    assert power(0, still, 8, 14) == pytest.approx(0.05, abs=1e-3)
    assert seeds_needed(0.1, still, 14) == 3


def test_how_many_seeds_decide_the_published_difference() -> None:
    over_seeds = Spread(seed=0.225, image=0, residual=0)
    assert [seeds_needed(effect, over_seeds, 100) for effect in (0.74, 0.2)] == [3, 12]
    assert [seeds_needed(effect, SMALL, 100) for effect in (0.74, 0.2)] == [3, 14]
    assert seeds_needed(0.2, SMALL, 14) is None  # 14 images differ by too much, whatever the number of seeds


@pytest.mark.parametrize("seeds", [3, 5])
def test_what_is_detectable_is_found_with_the_power_that_was_asked_for(seeds: int) -> None:
    found = detectable(0.225**2 / seeds, seeds - 1)
    assert power(found, Spread(0.225, 0, 0), seeds, 100) == pytest.approx(0.8, abs=1e-3)


# --- the kept study


def kept(root: Path, method: str, metric: str, name: str = "bsds100", dataset: str = "bsds100") -> np.ndarray:
    """(3 seeds, 100 images) of results/kept/pilot."""
    seeds = []
    for seed in range(3):
        path = root / f"results/kept/pilot/scores/{method}-x4-s{seed}/{name}.csv"
        rows = csv.DictReader(path.read_text(encoding="utf-8").splitlines())
        mine = [r for r in rows if (r["dataset"], r["metric"], r["weights"]) == (dataset, metric, "ema")]
        seeds.append([float(r["value"]) for r in sorted(mine, key=lambda r: r["image"])])
    return np.array(seeds)


@pytest.mark.parametrize(
    ("metric", "dataset", "low", "high"),
    [
        ("psnr_y", "bsds100", -0.72, 0.31),
        ("psnr_y", "bsds100/border", -0.50, 0.56),
        ("ssim_y", "bsds100", -0.103, 0.018),
        ("lr_psnr", "bsds100", -4.6, -2.3),
        ("artifact_excess", "bsds100", -20.3, -14.8),
    ],
)
def test_the_kept_study_under_both_intervals(
    root: Path, metric: str, dataset: str, low: float, high: float
) -> None:
    """The intervals were computed independently, by other code, before this one was written."""
    name = "bsds100.protocols" if "/" in dataset else "bsds100"
    a, b = (kept(root, method, metric, name, dataset) for method in ("sam_diffsr", "srdiff"))
    result = paired_difference(a, b, n_resamples=99)
    digits = {"ssim_y": 3, "psnr_y": 2}.get(metric, 1)
    assert round(result["ci_low"], digits) == low
    assert round(result["ci_high"], digits) == high
    assert result["methods"]["low"] < result["trainings"]["low"]


def test_the_raw_artifact_score_of_the_kept_study_has_no_direction(root: Path) -> None:
    a, b = (kept(root, method, "artifact") for method in ("sam_diffsr", "srdiff"))
    result = paired_ratio(a, b)
    assert result["mean"] == pytest.approx(1.005, abs=5e-4)
    assert result["trainings"]["low"] == pytest.approx(0.995, abs=1e-3)
    assert result["trainings"]["high"] == pytest.approx(1.014, abs=1e-3)
    assert result["ci_low"] < 0.9 < 1.1 < result["ci_high"]
