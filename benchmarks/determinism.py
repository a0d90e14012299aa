"""What stays bit-equal when a training or a sampling is done again otherwise, and how far the rest differs.

    PYTHONPATH=src:. python benchmarks/determinism.py [--steps 60] [--device cuda]

A small denoiser on two small images; prints the rows of docs/method/reproducibility.md.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from tests.world import RECIPES, World, build

from samdiffsr.models.model_file import open_model

HOW = {"device": "cpu"}


def train(out: str, steps: int, threads: int = 1, precision: str = "float32") -> str:
    """Train the small denoiser into `out`."""
    more = {"steps": steps, "lr": 1e-3, "batch": 4}
    recipe = RECIPES["denoiser"].but(
        precision=precision, unet__dim=16, **{f"training__{key}": value for key, value in more.items()}
    )
    _run("train-denoiser", {"--recipe": recipe.text(), "--out": out, "--threads": str(threads)})
    return out


def sample(model: str, out: str, threads: int = 1, precision: str = "float32") -> str:
    """Draw the images of `model` into the folder `out`."""
    recipe = RECIPES["sample"].but(precision=precision).text()
    places = {"--manifest": f"{out}.json", "--progress": f"{out}.jsonl", "--threads": str(threads)}
    _run("sample", {"--denoiser": model, "--recipe": recipe, "--out": out, **places})
    return out


def _run(stage: str, options: dict[str, str]) -> None:
    command = World(stage)
    for option, value in options.items():
        command.give(option, value)
    command.give("--device", HOW["device"])
    with contextlib.redirect_stdout(io.StringIO()):
        command.run()


def weights(a: str, b: str) -> str:
    """How two model files differ."""
    if Path(a).read_bytes() == Path(b).read_bytes():
        return "the same bytes"
    one, other = (open_model(path).weights("ema") for path in (a, b))
    return f"weights differ by {max(float((one[k] - other[k]).abs().max()) for k in one):.1e} at most"


def images(a: str, b: str) -> str:
    """How two folders of images differ."""
    pairs = [(np.asarray(Image.open(p)), np.asarray(Image.open(Path(b) / p.name))) for p in Path(a).iterdir()]
    differences = np.concatenate([np.abs(x.astype(int) - y).ravel() for x, y in pairs])
    if not differences.any():
        return "the same bytes"
    return (
        f"{100 * (differences > 0).mean():.1f} % of the values differ, by {differences.max()} of 255 at most"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    args = parser.parse_args()
    steps, HOW["device"] = args.steps, args.device
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        with contextlib.redirect_stdout(io.StringIO()):
            build(Path(folder))
        os.chdir(folder)
        one = train("one", steps)
        print("training again:", weights(one, train("again", steps)))
        print("training with 2 threads:", weights(one, two := train("two", steps, threads=2)))
        bf16 = train("bf16", steps, precision="bf16")
        print("training in bf16:", weights(one, bf16))
        print("training in bf16 again:", weights(bf16, train("bf16_again", steps, precision="bf16")))
        drawn = sample(one, "drawn")
        print("sampling with 2 threads:", images(drawn, sample(one, "drawn2", threads=2)))
        print("sampling what was trained with 2 threads:", images(drawn, sample(two, "drawn3")))
        print("sampling in bf16:", images(drawn, sample(one, "drawn4", precision="bf16")))
        print("sampling what was trained in bf16:", images(drawn, sample(bf16, "drawn5")))
        os.chdir("/")


if __name__ == "__main__":
    main()
