"""The model card of a released run: data, masks, seeds, protocol, scores and intervals, licence."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from samdiffsr import __version__
from samdiffsr.config.config import Config
from samdiffsr.config.schema import Run
from samdiffsr.core.layout import Layout
from samdiffsr.data.catalogue import sources
from samdiffsr.evaluation.metrics import METRICS
from samdiffsr.evaluation.protocol import PROTOCOL_METRICS


def model_card(
    config: Config, run: Run, info: dict[str, Any], root: Path, *, half: bool = False, licence: str = "mit"
) -> str:
    """The card as Markdown with YAML in front, as the Hugging Face hub reads it.

    Args:
        info: of the model file. half: its weights are stored in 16 bits.
    """
    import jinja2

    variant, rows = config.variants[run.variant], _scores(config, run, root)
    made = config.degradation_of(config.chosen.train_set)
    template = (resources.files("samdiffsr.checkpoints") / "card.md.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    return environment.from_string(template).render(
        front=yaml.safe_dump(_front(config, run, rows, licence), sort_keys=False, allow_unicode=True),
        label=variant.label,
        scale=run.scale,
        seed=run.seed,
        steps=config.chain(run.variant).steps if variant.kind == "denoiser" else None,
        run=run.name,
        study=config.study,
        about=config.chosen.about,
        version=__version__,
        facts=_facts(config, run, info),
        scores=rows,
        weights="Averaged" if config.weights(run.variant)[0] == "ema" else "Last step's",
        half=half,
        protocol="; ".join(sorted({row["protocol"] for row in rows if row["protocol"]})),
        differences=_differences(config, variant.label, run.scale, root),
        seeds=", ".join(map(str, config.chosen.seeds)),
        comparable=(
            "Its numbers may be compared with the paper's."
            if config.chosen.comparable
            else "Its numbers are not comparable with the paper's: data or networks differ."
        ),
        degradation=made.model_dump_json().replace('"', "") if made else "",
        licence=licence,
        terms=_terms(config),
    )


def _front(config: Config, run: Run, rows: list[dict[str, Any]], licence: str) -> dict[str, Any]:
    results = [
        {
            "task": {"type": "image-to-image", "name": "Image super-resolution"},
            "dataset": {"type": name, "name": config.dataset_label(name)},
            "metrics": [
                {"type": row["key"], "name": row["metric"], "value": float(row["mean"])}
                for row in rows
                if row["name"] == name
            ],
        }
        for name in dict.fromkeys(row["name"] for row in rows)
    ]
    drawn = config.variants[run.variant].kind == "denoiser"
    front: dict[str, Any] = {
        "license": licence,
        "pipeline_tag": "image-to-image",
        "library_name": "samdiffsr",
        "tags": ["super-resolution", *(["diffusion", "sam-diffsr"] if drawn else [])],
    }
    index = {"name": f"{config.variants[run.variant].label} x{run.scale}", "results": results}
    return front | ({"model-index": [index]} if results else {})


def _facts(config: Config, run: Run, info: dict[str, Any]) -> list[tuple[str, Any]]:
    recipe, training = info["recipe"], info["recipe"]["training"]
    images = info["digests"].get("images")
    facts = [
        ("Variant", f"`{run.variant}`"),
        ("Training set", f"{config.chosen.train_set}{f' (SHA-256 {images[:16]})' if images else ''}"),
        ("Masks", config.mask_set(run.variant) or "none"),
        ("Seed", run.seed),
        ("Steps", f"{training['steps']} of {training['batch']} patches of {training['patch']} pixels"),
        ("Loss", training["loss"]),
        ("Precision", info.get("precision", recipe.get("precision"))),
        ("Device", info.get("device", "not recorded")),
    ]
    if recipe["kind"] == "denoiser":
        chain = config.chain(run.variant)
        steps = f"{chain.steps or config.diffusion.steps} of {config.diffusion.steps} steps"
        facts.insert(1, ("Formulation", recipe["formulation"]))
        facts.append(("Sampling", steps))
    return facts


def _scores(config: Config, run: Run, root: Path) -> list[dict[str, Any]]:
    """A row a test set and metric of images, as it is printed."""
    from samdiffsr.reporting.frames import read_scores

    place = Layout(config.study)
    paths = [root / place.scores(run.name, name) for name in config.chosen.test_sets]
    measured = read_scores(path for path in paths if path.exists())
    measured = measured[measured["weights"] == config.weights(run.variant)[0]].dropna(subset=["number"])
    rows = []
    for where, cell in measured.groupby(["dataset", "metric"], sort=False):
        dataset, key = map(str, where)
        metric = METRICS[key]
        values = cell["number"] * metric.factor
        rows.append(
            {
                "name": dataset,
                "dataset": config.dataset_label(dataset),
                "key": key,
                "metric": metric.heading,
                "mean": f"{values.mean():.{metric.decimals}f}",
                "sd": f"{values.std():.{metric.decimals}f}" if len(values) > 1 else "",
                "n": len(values),
                "protocol": cell["protocol"].iloc[0] if key in PROTOCOL_METRICS else "",
            }
        )
    return rows


def _differences(config: Config, label: str, scale: int, root: Path) -> list[str]:
    """What the study's tables claim of this method, each claim once."""
    from samdiffsr.reporting.frames import read
    from samdiffsr.reporting.tables.differences import COLUMNS

    place = Layout(config.study)
    paths = [root / place.table(name, "differences") for name in config.tables]
    rows = read((path for path in paths if path.exists()), COLUMNS, "a table's differences")
    mine = rows[((rows["of"] == label) | (rows["minus"] == label)) & (rows["scale"] == str(scale))]
    mine = mine[mine["words"] != ""]
    return list(
        dict.fromkeys(
            f"{row['of']} minus {row['minus']}, {row['dataset']}, {METRICS[row['metric']].label}: "
            f"{row['words']}"
            for row in mine.to_dict("records")
        )
    )


def _terms(config: Config) -> list[str]:
    found = []
    for key in config.datasets[config.chosen.train_set].source:
        source = sources().get(key)
        found.append(f"{source.title}: {source.terms}" if source else _OWN[key])
    return found


_OWN = {
    "demo": "photographs that scikit-image installs: public domain or CC0",
    "local": "images of the study's author: ask the author",
}
