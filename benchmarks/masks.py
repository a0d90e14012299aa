"""How much faster the structure encoding is than the authors' merging of the same masks.

    python benchmarks/masks.py PATH [--masks 300] [--height 1356] [--width 2040]

PATH is a checkout of the authors' code (github.com/lose4578/SAM-DiffSR). It has no licence and therefore is
not part of this repository. Run on one core (OMP_NUM_THREADS=1). Needs the package rotary-embedding-torch.

Their `data_gen/merge_mask_to_one.py` goes over the whole image once per mask, for one scheme. Here
the label map of the masks' atoms is built once from the run lengths, and each scheme is a pass over it. Both
make the full map E_SAM. The values are compared with their settings (RoPE with the sequence along the height,
mean over the image, later masks overwrite); their other schemes cannot take masks of this type and shape.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco

from samdiffsr.masks.regions import Regions
from samdiffsr.masks.rle import records_from_regions, regions_from_records
from samdiffsr.structure.positions import POSITIONS, position_map
from samdiffsr.structure.values import e_sam, region_values

SETTINGS = {"mean_over": "image", "overlap": "overwrite"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkout", type=Path, help="the authors' repository")
    parser.add_argument("--masks", type=int, default=300)
    parser.add_argument("--height", type=int, default=1356)
    parser.add_argument("--width", type=int, default=2040)
    parser.add_argument("--repeat", type=int, default=5, help="of this project's part; the median counts")
    args = parser.parse_args()
    theirs = authors_module(args.checkout)

    records = records_from_regions(Regions.from_masks(some_masks(args.masks, args.height, args.width)))
    regions = regions_from_records(records)
    overlapped = np.mean(np.bincount(np.concatenate(regions.members))[regions.labels] > 1)
    print(
        f"{args.width} x {args.height}, {args.masks} masks, {regions.n_atoms} atoms, "
        f"{100 * overlapped:.0f} % of the pixels in several masks"
    )

    def decode() -> list[np.ndarray]:
        return [coco.decode(record["segmentation"]) for record in records]

    def encode(schemes: tuple[str, ...], maps: dict[str, np.ndarray] | None = None) -> list[np.ndarray]:
        return [
            e_sam(regions, region_values(regions, maps[scheme] if maps else position(scheme), **SETTINGS))
            for scheme in schemes
        ]

    def position(scheme: str) -> np.ndarray:
        return position_map(scheme, args.height, args.width, rope_axis="height")

    decode_s, masks = timed(decode)
    merge_s, expected = timed(lambda: theirs.merge_all_mask_to_one_RoPE(masks))
    build_s, _ = timed(lambda: regions_from_records(records), args.repeat)
    all_s, found = timed(lambda: encode(POSITIONS), args.repeat)
    maps = {scheme: position(scheme) for scheme in POSITIONS}
    kept_s, _ = timed(lambda: encode(POSITIONS, maps), args.repeat)

    rope = found[POSITIONS.index("rope")]
    worst, largest = np.abs(rope - expected).max(), np.abs(expected).max()
    print(f"authors: decoding the run lengths                      {decode_s:8.3f} s")
    print(f"authors: merging, one scheme                           {merge_s:8.3f} s")
    print(f"here: label map from the run lengths                   {build_s:8.3f} s")
    print(f"here: E_SAM in {len(POSITIONS)} schemes, from the label map           {all_s:8.3f} s")
    print(f"  of these with the position maps kept from before     {kept_s:8.3f} s")
    print(f"largest difference of E_SAM {worst:.2e}, of values up to {largest:.2e}")
    print(f"ratio of merging (one scheme) to encoding (all schemes): {merge_s / all_s:.0f}")
    print(f"  with the reading of the masks on both sides: {(decode_s + merge_s) / (build_s + all_s):.0f}")
    if worst > 1e-5 * largest:
        sys.exit("the two encodings differ by more than float32 rounding")


def authors_module(checkout: Path) -> Any:
    """Their merging functions. The file changes the working directory when it is imported: that is undone."""
    file = checkout / "data_gen" / "merge_mask_to_one.py"
    if not file.is_file():
        sys.exit(f"{file}: not found; give the path of a checkout of the authors' code")
    if importlib.util.find_spec("joblib") is None:  # imported there, and used only by its command line
        joblib: Any = types.ModuleType("joblib")
        joblib.Parallel = joblib.delayed = None
        sys.modules["joblib"] = joblib
    folder, path = Path.cwd(), list(sys.path)
    spec = importlib.util.spec_from_file_location("authors_merge", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    finally:
        os.chdir(folder)
        sys.path[:] = path
    return module


def some_masks(k: int, height: int, width: int) -> list[np.ndarray]:
    """k overlapping masks like SAM's: half of them cells of a partition, half ellipses, large and small."""
    from scipy.spatial import cKDTree

    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    seeds = rng.random((k // 2, 2)) * (height, width)
    cell = cKDTree(seeds).query(np.stack([y.ravel(), x.ravel()], 1))[1].reshape(height, width)
    masks = [cell == i for i in range(k // 2)]
    for _ in range(k - k // 2):
        cy, cx = rng.random(2) * (height, width)
        ry, rx = np.exp(rng.uniform(np.log(15), np.log(0.2 * height), 2))
        masks.append(((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 <= 1)
    return [masks[i] for i in rng.permutation(k)]


def timed(function: Callable[[], Any], repeat: int = 1) -> tuple[float, Any]:
    """Median seconds of `repeat` calls, and what the last one returned."""
    seconds, result = [], None
    for _ in range(repeat):
        began = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds)), result


if __name__ == "__main__":
    main()
