"""Restored images on the disk: what a manifest lists, checked when read; manifests of jobs joined."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from samdiffsr.core.errors import UserError
from samdiffsr.core.files import read_json, sha256_file, write_json
from samdiffsr.core.layout import SAMPLES
from samdiffsr.data.images import read_rgb
from samdiffsr.sampling.recipe import SamplingRecipe, parse


@dataclass(frozen=True)
class SampleSet:
    """The images that one manifest lists: `X.json` belongs to `X/<name>.png`.

    hashes: name -> SHA-256 of the file as it was written. recipe: what they were sampled with.
    models: hashes of the networks.
    """

    manifest: Path
    hashes: dict[str, str]
    recipe: SamplingRecipe
    models: dict[str, str]

    @classmethod
    def open(cls, manifest: Path) -> SampleSet:
        """What the sample stage wrote; UserError if it is no manifest."""
        listed = read_json(manifest)
        hashes = {x["name"]: x["sha256"] for x in listed["images"]}
        recipe = parse(json.dumps(listed["recipe"]), f"{manifest}: recipe")
        return cls(manifest, hashes, recipe, listed.get("models", {}))

    def path(self, name: str) -> Path:
        """Where an image lies, or would."""
        return self.manifest.with_suffix("") / f"{name}.png"

    def has(self, name: str) -> bool:
        """Whether an image was made and is still there."""
        return name in self.hashes and self.path(name).exists()

    def check(self, name: str) -> Path:
        """Path of an image; UserError if the file is not the one that was sampled."""
        path = self.path(name)
        if sha256_file(path) != self.hashes[name]:
            raise UserError(
                f"{path}: is not the file that was sampled (its hash differs); delete it and {self.manifest}"
            )
        return path

    def read(self, name: str) -> np.ndarray | None:
        """An image, uint8 (H, W, 3), checked as in `check`; None if it is not there."""
        return read_rgb(self.check(name)) if self.has(name) else None


def timing_path(manifest: Path) -> Path:
    """Where the timing record of a manifest lies."""
    return manifest.with_name(manifest.stem + SAMPLES[1])


def merge_samples(parts: Sequence[Path], manifest: Path) -> None:
    """Join the manifests of all parts, in order, and their timing records, into those of one job.

    The manifest is byte for byte what one job would have written.

    Raises:
        UserError: parts made with different settings, models or images.
    """
    listed = [read_json(path) for path in parts]
    timings = [read_json(timing_path(path)) for path in parts]
    for path, part in zip(parts, listed, strict=True):
        if _without(part, "images") != _without(listed[0], "images"):
            raise UserError(f"{path}: its settings differ from {parts[0]}; delete both and sample again")
    images = [image for part in listed for image in part["images"]]
    if len({image["name"] for image in images}) < len(images):
        raise UserError(f"{manifest}: two parts hold the same image; delete them and sample again")
    seconds = {name: value for timing in timings for name, value in timing["seconds"].items()}
    write_json(
        timing_path(manifest),
        {
            **timings[0],
            "device": " and ".join(dict.fromkeys(timing["device"] for timing in timings)),
            "peak_bytes": max(timing["peak_bytes"] for timing in timings),
            "seconds": seconds,
        },
    )
    write_json(manifest, {**listed[0], "images": images})


def _without(record: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name != key}
