"""What the configuration names is added by one entry and one class or function."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
import yaml

from samdiffsr.config.load import load_config
from samdiffsr.config.recipes.stages import mask_recipe
from samdiffsr.core.errors import UserError
from samdiffsr.data.store import StoreWriter
from samdiffsr.diffusion.process import formulation
from samdiffsr.diffusion.registry import FORMULATIONS, Arm
from samdiffsr.diffusion.schedule import Schedule, cosine_schedule
from samdiffsr.masks.recipe import MaskRecipe
from samdiffsr.masks.regions import Regions
from samdiffsr.masks.segment import segment
from samdiffsr.masks.segmenters.registry import SEGMENTERS, Kind, Places, Settings
from samdiffsr.masks.store import RegionStore


class Halves(Settings):
    """Toy settings."""

    kind: Literal["halves"] = "halves"
    upright: bool = True


class HalvesSegmenter:
    """Two regions, side by side or one over the other."""

    def __init__(self, settings: Halves, places: Places) -> None:
        self.settings = settings

    def __call__(self, image: np.ndarray, name: str) -> Regions:
        axis = int(self.settings.upright)
        position = np.indices(image.shape[:2])[axis]
        return Regions.from_partition(1 + (position >= image.shape[axis] // 2))

    def describe(self) -> dict[str, Any]:
        return dict(self.settings)


def doubled(schedule: Schedule) -> tuple[torch.Tensor, torch.Tensor]:
    """A toy formulation."""
    return 2 * schedule.phi, schedule.phi


@pytest.fixture
def toys() -> Iterator[None]:
    SEGMENTERS.register("halves", Kind(Halves, f"{__name__}:HalvesSegmenter"))
    FORMULATIONS.register("doubled", Arm(f"{__name__}:doubled", clip="wide"))
    yield
    SEGMENTERS.remove("halves")
    FORMULATIONS.remove("doubled")


@pytest.fixture
def raw(root: Path) -> dict[str, Any]:
    value = yaml.safe_load((root / "config.yaml").read_text())
    value["mask_sets"]["halves"] = {"image": "hr", "segmenter": {"kind": "halves", "upright": False}}
    value["studies"]["demo"]["masks"]["high"] = "halves"
    value["variants"]["toy"] = {"base": "sam_diffsr", "label": "Toy", "formulation": "doubled"}
    return value


@pytest.mark.usefixtures("toys")
def test_a_toy_segmenter_is_configured_and_its_regions_lie_in_a_store(
    tmp_path: Path, raw: dict[str, Any]
) -> None:
    recipe = mask_recipe(load_config(raw), "halves")
    assert recipe.text() == '{"image":"hr","segmenter":{"kind":"halves","upright":false}}'
    with StoreWriter(tmp_path / "hr") as store:
        store.add("a", np.zeros((4, 6, 3), np.uint8))
    segment(tmp_path / "hr", tmp_path / "regions", MaskRecipe.parse(recipe.text()))
    found = RegionStore(tmp_path / "regions")
    assert found[0].labels.tolist() == [[1] * 6] * 2 + [[2] * 6] * 2
    assert found.meta["segmenter"] == {"kind": "halves", "upright": False}


@pytest.mark.usefixtures("toys")
def test_a_toy_formulation_is_configured_and_built(raw: dict[str, Any]) -> None:
    schedule = cosine_schedule(10)
    arm = formulation(load_config(raw).variants["toy"].formulation, schedule)
    assert torch.equal(arm.m, 2 * schedule.phi)
    assert arm.clip == "wide"
    raw["variants"]["toy"]["masks"] = None
    with pytest.raises(UserError, match="'doubled' needs masks"):
        load_config(raw)


def test_without_their_entries_they_are_unknown(raw: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="segmenter kind 'halves' is none of felzenszwalb"):
        load_config(raw)
    with pytest.raises(ValueError, match="there is a formulation 'none' already"):
        FORMULATIONS.register("none", Arm("x:y"))
