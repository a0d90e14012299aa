"""What config.yaml leaves out: what a variant's base says, packaged baselines, the masks of placebos."""

from __future__ import annotations

from typing import Any, get_args

from samdiffsr.config.schema import without_effect
from samdiffsr.core.registry import similar
from samdiffsr.data.catalogue import baselines
from samdiffsr.masks.segmenters.registry import PlaceboRegions


def completed(value: Any) -> Any:
    """The same with every variant filled from its `base`, the packaged baselines and the placebos' mask sets.

    A variant does not take from its base what would have no effect on it.

    Raises:
        ValueError: variants or baselines that are no mappings, an unknown base, a circle.
    """
    variants = value.get("variants") if isinstance(value, dict) else None
    if not isinstance(variants, dict):
        return value
    for name, own in variants.items():
        if not isinstance(own, dict) or not isinstance(own.get("training", {}), dict):
            raise ValueError(f"variants.{name}: it and its `training` must map keys to values")
    given = value.get("baselines") or {}
    if not isinstance(given, dict):
        raise ValueError("baselines: it must map keys to values")
    others: dict[str, Any] = {**baselines()}
    for name, own in given.items():
        others[name] = {**others.get(name, {}), **own} if isinstance(own, dict) else own
    value = {**value, "baselines": others}
    for name, own in others.items():
        if isinstance(own, dict):
            if name in variants and variants[name].get("kind") != "baseline":
                raise ValueError(f"baselines.{name}: a variant has this name too")
            row = {"label": own.get("label", name), "published": own.get("published", "")}
            variants = {**variants, name: {**row, "kind": "baseline", "formulation": "none"}}

    def full(name: str, seen: tuple[str, ...] = ()) -> dict[str, Any]:
        own: dict[str, Any] = variants[name]
        base = own.get("base")
        if base is None:
            return own
        if not isinstance(base, str):
            raise ValueError(f"variants.{name}.base: must be a variant's name, not {base!r}")
        if base in seen or base == name:
            raise ValueError(f"variants.{name}.base: {base!r} leads back to itself")
        if base not in variants:
            raise ValueError(f"variants.{name}.base: no variant {base!r}{similar(base, variants)}")
        inherited = full(base, (*seen, name))
        training = {**inherited.get("training", {}), **own.get("training", {})}
        made = {**inherited, "published": "", **own, "training": training}
        useless = without_effect(made.get("kind", "denoiser"), made.get("foreign"), made.get("masks"))
        return {key: value for key, value in made.items() if key in own or key not in useless}

    complete = {name: full(name) for name in variants}
    return _with_placebos({**value, "variants": complete})


def _with_placebos(value: dict[str, Any]) -> dict[str, Any]:
    """With a mask set for each placebo that a variant asks for, of the masks that a study gives it."""
    sets, studies = value.get("mask_sets"), value.get("studies")
    if not isinstance(sets, dict) or not isinstance(studies, dict):
        return value  # what is wrong is said when it is validated
    made = {}
    for variant in value["variants"].values():
        regions, level = variant.get("placebo"), variant.get("masks")
        asked = regions in get_args(PlaceboRegions) and isinstance(level, str)
        for study in studies.values() if asked else ():
            levels = study.get("masks") if isinstance(study, dict) else None
            own = levels.get(level, level) if isinstance(levels, dict) else None
            if isinstance(own, str) and own in sets:
                segmenter = {"kind": "placebo", "regions": regions, "of": own}
                made[f"{own}_{regions}"] = {"image": "hr", "segmenter": segmenter}
    return {**value, "mask_sets": {**made, **sets}}
