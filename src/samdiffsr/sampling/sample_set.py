"""Manifests of restored images: those of several jobs that shared a data set, brought together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from samdiffsr.core.errors import UserError
from samdiffsr.core.files import read_json, write_json


def timing_path(manifest: Path) -> Path:
    """Where the timing record of a manifest lies."""
    return manifest.with_name(f"{manifest.stem}.timing.json")


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
