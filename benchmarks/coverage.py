"""How often 95 % intervals of a difference between two methods hold the true one.

    python -m benchmarks.coverage [--out benchmarks/results] [--experiments 4000]

Simulates studies whose true difference is known and counts. Beside the interval that is claimed (seeds and
images both random) stands the one of these trainings alone (images random, seeds taken as given). Writes
coverage.csv and coverage.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from samdiffsr.core.files import atomic_path, write_csv
from samdiffsr.evaluation.crossed import Spread, estimate, spread
from samdiffsr.evaluation.over_images import BOOTSTRAP_FROM, LEVEL, Bootstrap, student
from samdiffsr.reporting.frames import read_scores

SEEDS = (1, 2, 3, 5, 10)
IMAGES = (5, 14, 30, 100)
RESAMPLES = 499  # of the bootstrap; 9999 in the tables change the coverage by less than 0.01
BATCH = 100  # studies whose bootstrap is held in memory at once
COLUMNS = (
    "effects", "seeds", "images", "studies", "methods", "methods_half_width", "floor", "trainings",
    "trainings_half_width", "trainings_method",
)  # fmt: skip
# (random numbers, studies, seeds, images) -> differences (studies, seeds, images) of true mean 0
Draw = Callable[[np.random.Generator, int, int, int], np.ndarray]


class Cell(NamedTuple):
    """One cell: the share of studies whose interval holds the true difference, and its mean half-width.

    methods: NaN with one seed, where there is no interval. floor: share of studies whose variance was the one
    over seeds or over images alone.
    """

    methods: float
    methods_half_width: float
    floor: float
    trainings: float
    trainings_half_width: float


def cell(draw: Draw, seeds: int, images: int, studies: int, rng: np.random.Generator) -> Cell:
    """Both intervals over so many studies of a true difference of 0."""
    d = draw(rng, studies, seeds, images)
    low, high = over_images_many(d.mean(axis=1))
    trainings = (_share((low <= 0) & (high >= 0)), float((high - low).mean() / 2))
    if seeds == 1:
        return Cell(float("nan"), float("nan"), float("nan"), *trainings)
    found = estimate(d)
    half = stats.t.ppf(0.5 + LEVEL / 2, found.df) * np.sqrt(found.variance)
    return Cell(_share(abs(found.mean) <= half), float(half.mean()), _share(found.floor != ""), *trainings)


def effects(scores: list[Path]) -> dict[str, Draw]:
    """What is simulated, by name; `scores`: the CSVs of a kept study, whose spread all of them have."""
    a, b = (kept(scores, method, "psnr_y") for method in ("sam_diffsr", "srdiff"))
    of = spread(a - b)
    top, bottom = (kept(scores, method, "artifact") for method in ("sam_diffsr", "srdiff"))
    return {
        "normal": normal(of),
        "normal, seeds do not differ": normal(of._replace(seed=0.0)),
        "skewed (gamma)": normal(of, lambda rng, size: rng.exponential(1, size) - 1),
        "real images, PSNR": resampled(a - b, of.seed),
        "real images, artifact ratio": resampled(log_ratio(top, bottom), spread(log_ratio(top, bottom)).seed),
    }


def normal(of: Spread, image: Callable[..., np.ndarray] | None = None) -> Draw:
    """Independent terms of these sd, normal; `image`: another law of images of mean 0 and sd 1."""

    def draw(rng: np.random.Generator, studies: int, seeds: int, images: int) -> np.ndarray:
        law = image or (lambda r, size: r.normal(0, 1, size))
        by_seed = of.seed * rng.normal(0, 1, (studies, seeds, 1))
        by_image = of.image * law(rng, (studies, 1, images))
        return by_seed + by_image + of.residual * rng.normal(0, 1, (studies, seeds, images))

    return draw


def resampled(d: np.ndarray, seed_sd: float) -> Draw:
    """Images of a real study drawn with replacement, with their own residuals; seeds normal.

    Three seeds are too few to draw from. The residuals of S seeds are scaled by sqrt(S / (S - 1)), since
    their mean was taken off; so is the images' mean of what it holds of them.
    """
    by_image = d.mean(axis=0) - d.mean()
    residual = d - d.mean(axis=1, keepdims=True) - by_image
    residual = residual * (len(d) / (len(d) - 1)) ** 0.5
    by_image = by_image * (1 - residual.var() / len(d) / by_image.var()) ** 0.5

    def draw(rng: np.random.Generator, studies: int, seeds: int, images: int) -> np.ndarray:
        image = rng.integers(0, d.shape[1], (studies, 1, images))
        which = rng.integers(0, len(d), (studies, seeds, images))
        return rng.normal(0, seed_sd, (studies, seeds, 1)) + by_image[image] + residual[which, image]

    return draw


def kept(scores: list[Path], method: str, metric: str) -> np.ndarray:
    """(seeds, images) of BSDS100, averaged weights."""
    found = read_scores(scores)
    named = (found["run"].str.rpartition("-x4-s")[0] == method) & (found["weights"] == "ema")
    mine = found[named & (found["dataset"] == "bsds100") & (found["metric"] == metric)]
    return mine.pivot(index="run", columns="image", values="number").to_numpy()


def tables(draws: dict[str, Draw], studies: int, seed: int = 1) -> Iterator[dict[str, Any]]:
    """The rows of coverage.csv."""
    for number, (name, draw) in enumerate(draws.items()):
        for seeds in SEEDS:
            for images in IMAGES:
                rng = np.random.default_rng([seed, number, seeds, images])
                found = cell(draw, seeds, images, studies, rng)
                shown = {k: "" if np.isnan(v) else f"{v:.4f}" for k, v in found._asdict().items()}
                method = "t" if images < BOOTSTRAP_FROM else "bca"
                yield (
                    {"effects": name, "seeds": seeds, "images": images, "studies": studies}
                    | shown
                    | {"trainings_method": method}
                )


def markdown(rows: list[dict[str, Any]]) -> str:
    """Claimed / these trainings alone, a column a number of images."""
    lines = [
        "| differences | seeds | " + " | ".join(f"{n} images" for n in IMAGES) + " |",
        "|---|---:|" + "---:|" * len(IMAGES),
    ]
    for name in dict.fromkeys(row["effects"] for row in rows):
        for seeds in SEEDS:
            cells = [row for row in rows if (row["effects"], int(row["seeds"])) == (name, seeds)]
            pairs = [f"{_short(row['methods'])} / {_short(row['trainings'])}" for row in cells]
            lines.append(f"| {name} | {seeds} | " + " | ".join(pairs) + " |")
    return "\n".join(lines) + "\n"


def over_images_many(d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of the interval of these trainings, of (studies, images)."""
    if d.shape[1] < BOOTSTRAP_FROM:
        half = student(d)
        return d.mean(axis=1) - half, d.mean(axis=1) + half
    parts = [Bootstrap((d[k : k + BATCH],), np.mean, k, RESAMPLES).bounds() for k in range(0, len(d), BATCH)]
    return np.concatenate([low for low, _ in parts]), np.concatenate([high for _, high in parts])


def log_ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """What `compare.paired_ratio` infers about."""
    return top / top.mean() - bottom / bottom.mean()


def _share(held: np.ndarray) -> float:
    return float(held.mean())


def _short(value: float | str) -> str:
    return f"{float(value):.2f}".removeprefix("0") if value else "–"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.coverage",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--scores", type=Path, default=Path("results/kept/pilot/scores"))
    parser.add_argument("--experiments", type=int, default=4000)
    args = parser.parse_args()
    rows = list(tables(effects(sorted(args.scores.glob("*/bsds100.csv"))), args.experiments))
    write_csv(args.out / "coverage.csv", COLUMNS, rows)
    with atomic_path(args.out / "coverage.md") as path:
        path.write_text(markdown(rows), encoding="utf-8")
    print(f"{args.out / 'coverage.md'}: {len(rows)} cells")


if __name__ == "__main__":
    main()
