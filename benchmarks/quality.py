"""What few steps and bf16 cost in quality: PSNR-Y of a trained run's images against the number of steps.

    python -m benchmarks.quality --encoder MODEL --denoiser MODEL [MODEL ...] --images FOLDER [FOLDER ...]

MODEL: a training's model.safetensors (results/<study>/encoders and runs); FOLDER: HR images. Every image is
drawn with the same random numbers in every row; the bicubic enlargement stands beside.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np

from samdiffsr.core.device import resolve_device, resolve_precision
from samdiffsr.core.errors import UserError
from samdiffsr.core.files import write_csv
from samdiffsr.core.randomness import prepare_torch
from samdiffsr.data.images import list_images, read_rgb
from samdiffsr.data.resize import crop_to_multiple, downscale, upscale
from samdiffsr.evaluation.image import ImageMetrics, score_image
from samdiffsr.evaluation.protocol import Protocol
from samdiffsr.models.model_file import open_model
from samdiffsr.sampling.recipe import Draw
from samdiffsr.sampling.restorers import DenoiserRestorer

STEPS = (None, 50, 20, 15)  # None: all


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--encoder", type=Path, required=True)
    parser.add_argument("--denoiser", type=Path, nargs="+", required=True)
    parser.add_argument("--images", type=Path, nargs="+", required=True)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of the CPU")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    args = parser.parse_args()
    prepare_torch(args.threads)
    scale = open_model(args.denoiser[0], "denoiser").info["recipe"]["scale"]
    images = [
        (path.stem, crop_to_multiple(read_rgb(path), 2 * scale))
        for folder in args.images
        for path in list_images(folder)
    ]
    small = [(name, hr, downscale(hr, scale, "each_axis")) for name, hr in images]
    metrics = ImageMetrics(["psnr_y"])

    def psnr_y(sr: np.ndarray, hr: np.ndarray, lr: np.ndarray) -> float:
        return score_image(sr, hr, lr, scale, Protocol(), metrics)["psnr_y"]

    bicubic = float(np.mean([psnr_y(upscale(lr, scale), hr, lr) for _, hr, lr in small]))
    print(f"{len(images)} images; bicubic {bicubic:.3f} dB")
    device = resolve_device(args.device)
    rows: list[dict[str, object]] = []
    for model in args.denoiser:
        for precision in ("float32", "bf16"):
            if precision == "bf16" and resolve_precision("auto", device) != "bf16":
                print("bf16 is left out: this device computes it no faster")
                continue
            for steps in STEPS if precision == "float32" else (None, 20):
                draw = Draw(steps=steps)
                try:
                    restore = DenoiserRestorer(model, args.encoder, draw, device, precision)
                    values = [psnr_y(restore(lr, name), hr, lr) for name, hr, lr in small]
                except UserError as error:
                    print(f"{model.parent.name}, {steps} steps: {error}")
                    continue
                row = {
                    "run": model.parent.name,
                    "precision": precision,
                    "steps": steps or "all",
                    "psnr_y": round(float(np.mean(values)), 4),
                    "psnr_y_of_each": " ".join(f"{v:.4f}" for v in values),
                }
                rows.append(row)
                print({k: row[k] for k in ("run", "precision", "steps", "psnr_y")}, flush=True)
    write_csv(args.out / "quality.csv", list(rows[0]), rows)


if __name__ == "__main__":
    main()
