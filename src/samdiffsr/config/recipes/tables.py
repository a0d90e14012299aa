"""What a table needs beside the scores."""

from __future__ import annotations

from typing import Any

from samdiffsr.config.load import Config
from samdiffsr.config.schema import Row
from samdiffsr.evaluation.protocol import PROTOCOLS


def sampling_words(config: Config, kind: str) -> str:
    if kind != "denoiser":
        return "not random"
    steps, pad = config.chosen.sampling.steps, config.chosen.sampling.pad
    words = f"{steps} of {config.diffusion.steps} steps" if steps else f"all {config.diffusion.steps} steps"
    return f"{words}, padded by {pad} LR px" if pad else words


def table_recipe(
    config: Config, table: str, absent: dict[str, dict[str, str]] | None = None
) -> dict[str, Any]:
    """Everything a table needs beside the scores.

    Args:
        absent: variant -> data set -> why its images cannot be had here (presence.absent).
    """
    spec = config.tables[table]
    sets = config.table_datasets(table)
    return {
        "name": table,
        "study": config.study,
        "about": config.chosen.about,
        "comparable": config.chosen.comparable,
        "train_set": config.chosen.train_set,
        "checkpoints": config.checkpoint_source,
        "title": spec.title,
        "scale": spec.scale,
        "metrics": list(spec.metrics),
        "datasets": [
            part
            for n in sets
            for part in _under_protocols(
                {"name": n, "label": config.dataset_label(n), "published": config.datasets[n].published},
                spec.protocols,
            )
        ],
        "left_out": [
            {
                "name": n,
                "label": config.dataset_label(n),
                "published": config.datasets[n].published,
                "why": why,
            }
            for n, why in config.left_out.items()
            if n in config.tables[table].datasets or not config.tables[table].datasets
        ],
        "rows": [
            row_recipe(config, row, spec.scale, (absent or {}).get(row.variant or "", {}), sets)
            for row in spec.rows
        ],
        "differences": [pair.model_dump() for pair in spec.differences],
        "notes": list(spec.notes),
    }


def row_recipe(
    config: Config, row: Row, scale: int, absent: dict[str, str], datasets: list[str]
) -> dict[str, Any]:
    if row.variant is None:
        return {
            "variant": None,
            "label": row.label or row.published,
            "published": row.published,
            "masks": None,
            "runs": [],
            "weights": [],
            "sampling": "",
            "absent": {},
        }
    variant = config.variants[row.variant]
    runs = [] if absent.keys() >= set(datasets) else config.runs(row.variant, scale)
    return {
        "variant": row.variant,
        "label": row.label or variant.label,
        "published": row.published or row.label or variant.published or variant.label,
        "masks": _mask_words(config, row.variant),
        "runs": [run.name for run in runs],
        "weights": config.weights(row.variant),
        "sampling": sampling_words(config, variant.kind),
        "absent": absent,
    }


def _mask_words(config: Config, variant: str) -> str | None:
    """Which masks a variant saw, as the tables say it."""
    v, masks = config.variants[variant], config.mask_set(variant)
    if v.foreign is not None:
        return "its own"
    if v.formulation == "condition":  # the one network that needs masks at inference, where HR is unknown
        return f"{masks} in training, {config.chosen.masks['low']} at inference"
    return masks


def _under_protocols(dataset: dict[str, str], protocols: tuple[str, ...]) -> list[dict[str, str]]:
    """A data set once for each protocol; the paper's values stand beside its own protocol alone."""
    if not protocols:
        return [dataset]
    return [
        {
            "name": f"{dataset['name']}/{name}",
            "label": f"{dataset['label']}, {PROTOCOLS[name].label}",
            "published": dataset["published"] if PROTOCOLS[name].published else "",
        }
        for name in protocols
    ]
