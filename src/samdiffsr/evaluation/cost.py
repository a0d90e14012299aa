"""What a run costs: parameters, training time, time and memory an image. In the format of `evaluation.sets`.

Times come from the runs' own records, and the device's name stands where the other metrics have their
protocol: a time without a device says nothing.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from samdiffsr.core.files import read_json, write_csv
from samdiffsr.evaluation.sets import COLUMNS

METRICS = (
    "parameters",
    "encoder_parameters",
    "train_seconds",
    "train_memory",
    "image_seconds",
    "image_memory",
)
STEPS = 100_000  # that training time is given for


def count_parameters(model: Path) -> int:
    """Number of weights in a model file."""
    import safetensors

    from samdiffsr.models.model_file import open_model

    open_model(model)
    with safetensors.safe_open(model, "np") as file:
        names = [name for name in file.keys() if name.startswith("raw.")]  # noqa: SIM118
        return sum(math.prod(file.get_slice(name).get_shape()) for name in names)


def cost(
    run: str,
    dataset: str,
    out: Path,
    samples: list[Path],
    encoder: Path | None = None,
    denoiser: Path | None = None,
    training: Path | None = None,
) -> None:
    """Write the CSV `out` (columns: `evaluation.sets.COLUMNS`) of one run on one data set.

    Args:
        samples: timing records of the sample stage, headline weights first: that one is used.
        encoder, denoiser: model files that the run has. training: timing record of the denoiser's training.

    Values: parameters; seconds for 100 000 steps, extrapolated from those of the record; bytes at the peak of
    training; seconds an image, the mean over the data set; bytes at the peak of sampling. On the CPU a peak
    is the whole process's.
    """
    values: dict[str, tuple[float | None, int, str, str]] = {}  # value, n, why empty, protocol
    for metric, model in (("parameters", denoiser), ("encoder_parameters", encoder)):
        values[metric] = (None, 0, "has none", "") if model is None else (count_parameters(model), 1, "", "")
    if training is None:
        values["train_seconds"] = values["train_memory"] = (None, 0, "not trained here", "")
    else:
        record = read_json(training)
        where = _device(record)
        seconds = record["seconds"] / record["steps"] * STEPS
        extrapolated = f"{where}; extrapolated from {record['steps']} steps"
        values["train_seconds"] = (seconds, record["steps"], "", extrapolated)
        values["train_memory"] = (record["peak_bytes"], 1, "", where)
    record = read_json(samples[0])
    times = list(record["seconds"].values())
    where = _device(record)
    values["image_seconds"] = (sum(times) / len(times), len(times), "", where)
    peak = record.get("peak_bytes")
    values["image_memory"] = (peak, 1, "" if peak else "not recorded", where)
    rows: list[dict[str, Any]] = [
        {
            "run": run,
            "weights": record["weights"],
            "dataset": dataset,
            "metric": metric,
            "value": "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value),
            "sd": "",
            "n": n,
            "why_empty": why,
            "protocol": protocol,
        }
        for metric, (value, n, why, protocol) in values.items()
    ]
    write_csv(out, COLUMNS, rows)


def _device(record: dict[str, Any]) -> str:
    threads = record.get("threads")
    many = record.get("processes", 1)
    text = record["device"] if many == 1 else f"{many} x {record['device']}"
    return f"{text}, {threads} thread{'s' * (threads != 1)}" if threads else text
