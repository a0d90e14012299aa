"""Region features: each by hand, bounded as declared, several at once, and on their way into a patch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from samdiffsr.config.load import load_config
from samdiffsr.config.recipes.stages import denoiser_recipe, encoding_name
from samdiffsr.config.schema import Run
from samdiffsr.core.errors import UserError
from samdiffsr.data.store import Store, StoreWriter
from samdiffsr.diffusion.process import formulation
from samdiffsr.diffusion.schedule import cosine_schedule
from samdiffsr.masks.encode import encode, feature_values, load_values, region_values
from samdiffsr.masks.positions import position_map
from samdiffsr.masks.recipe import Encoding
from samdiffsr.masks.reduce import structure_map
from samdiffsr.masks.regions import Regions
from samdiffsr.masks.registry import FEATURES, Feature
from samdiffsr.masks.store import RegionStore, RegionStoreWriter
from samdiffsr.models.denoiser import build_denoiser
from samdiffsr.models.recipe import DenoiserNetwork, UNet
from samdiffsr.training.denoiser import bound
from samdiffsr.training.patches import PatchSource
from samdiffsr.workflow.arguments import encoding_code
from samdiffsr.workflow.fingerprint import fingerprint
from samdiffsr.workflow.inputs.stores import encoded

LEFT = np.array([[1, 1, 0, 0]] * 2, bool)
ALL = np.ones((2, 4), bool)
REGIONS = Regions.from_masks([LEFT, ~LEFT], (2, 4))
IMAGE = np.zeros((2, 4, 3), np.uint8)
IMAGE[:, 2:] = (255, 0, 51)


def values(feature: str, regions: Regions = REGIONS, **options: Any) -> list[Any]:
    """Of the uncovered pixels and of each atom."""
    return feature_values(regions, Encoding(features=(feature,), **options), IMAGE).tolist()


def test_the_position_of_the_paper_is_a_feature_like_others() -> None:
    x = position_map("rope", 2, 4)
    old = region_values(REGIONS, x, Encoding())
    assert np.array_equal(feature_values(REGIONS, Encoding()), old)
    assert np.array_equal(feature_values(REGIONS, Encoding(features=("rope",))), old)


def test_each_feature_by_hand() -> None:
    assert values("area") == [0, 0.5, 0.5]
    assert values("area", Regions.from_masks([LEFT], (2, 4)), uncovered="own_region") == [0.5, 0.5]
    assert values("colour") == [[0, 0, 0], [-1, -1, -1], [1, -1, pytest.approx(-0.6)]]
    assert values("centre") == [[0, 0], [0, pytest.approx(-2 / 3)], [0, pytest.approx(2 / 3)]]
    step = (255 * 0.299 + 51 * 0.114) / 255  # of luma, in the middle: two of four columns, half of it each
    assert values("texture")[1:] == [pytest.approx(min(step / 2 / 0.25, 1) / 2)] * 2
    assert values("contrast", Regions.from_masks([ALL]))[1] > 0
    classed = Regions(REGIONS.labels, REGIONS.members, {"category": np.array([64, 3])})
    assert values("category", classed) == [0, 0.25, pytest.approx(3 / 256)]


def test_regions_without_a_class_are_refused() -> None:
    with pytest.raises(UserError, match="these regions have no class"):
        values("category")
    beyond = Regions(REGIONS.labels, REGIONS.members, {"category": np.array([1, 256])})
    with pytest.raises(UserError, match="a class is 256; give numbers below 256"):
        values("category", beyond)


def test_overlaps_and_the_number_of_values() -> None:
    """Equation (6) sums what lies over a pixel, whatever the feature; features come in their order."""
    both = Regions.from_masks([ALL, LEFT])
    assert sorted(values("area", both)) == [0, 1, 1.5]
    assert sorted(values("area", both, overlap="smallest")) == [0, 0.5, 1]
    found = feature_values(both, Encoding(features=("area", "colour", "linear")), IMAGE)
    assert found.shape == (3, 5)
    assert found.dtype == np.float32
    assert np.array_equal(found[:, 4], feature_values(both, Encoding(position="linear")))
    assert structure_map(both.labels, found).shape == (2, 4, 5)


@settings(max_examples=20, deadline=None)
@given(
    image=hnp.arrays(np.uint8, (6, 7, 3)),
    labels=hnp.arrays(np.int64, (6, 7), elements=st.integers(0, 4)),
    uncovered=st.sampled_from(["zero", "own_region"]),
)
def test_every_feature_is_within_its_bounds(image: np.ndarray, labels: np.ndarray, uncovered: str) -> None:
    regions = Regions.from_partition(labels)
    regions = Regions(regions.labels, regions.members, {"category": np.arange(regions.n_masks)})
    for name, feature in FEATURES.items():
        found = feature_values(regions, Encoding(features=(name,), uncovered=uncovered), image)
        assert found[0].size == feature.channels
        of_atoms = found[1:]  # a partition: each atom is one region
        assert (of_atoms >= feature.low - 1e-6).all()
        assert (of_atoms <= feature.high + 1e-6).all()


def loud(image: np.ndarray) -> np.ndarray:
    return image.astype(float)


def bright(image: np.ndarray) -> np.ndarray:
    return np.full(image.shape[:2], 0.75)


@pytest.fixture
def toys() -> Iterator[None]:
    FEATURES.register("bright", Feature(f"{__name__}:bright", "pixels", 0.5, 1))
    FEATURES.register("loud", Feature(f"{__name__}:loud", "pixels", 0, 1, channels=3))
    FEATURES.register("wide", Feature(f"{__name__}:loud", "pixels", 0, 255))
    yield
    FEATURES.remove("bright")
    FEATURES.remove("loud")
    FEATURES.remove("wide")


@pytest.mark.usefixtures("toys")
def test_what_a_feature_does_not_declare_is_refused() -> None:
    with pytest.raises(UserError, match="feature 'loud': gives 255, which is not within the declared 0 to 1"):
        values("loud")
    with pytest.raises(UserError, match="feature 'wide': gives 3 numbers a region and declares 1"):
        values("wide")


@pytest.mark.usefixtures("toys")
def test_bounds_are_those_of_regions_that_have_pixels() -> None:
    """Uncovered pixels that are not there, and a mask without pixels, have no number to be refused."""
    assert values("bright") == [0, 0.75, 0.75]
    assert values("bright", Regions.from_masks([ALL, np.zeros_like(ALL)])) == [0, 0.75]
    assert values("bright", mean_over="image") == [0, 0.375, 0.375]  # zeros beside the region count


@pytest.fixture
def world(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    with (
        StoreWriter(tmp_path / "hr") as hr,
        StoreWriter(tmp_path / "lr", scale=4) as lr,
        RegionStoreWriter(tmp_path / "masks") as masks,
    ):
        for i in range(2):
            image = rng.integers(0, 256, (32, 48, 3), dtype=np.uint8)
            hr.add(f"{i}", image)
            lr.add(f"{i}", np.ascontiguousarray(image[::4, ::4]))
            masks.add(f"{i}", Regions.from_partition(rng.integers(0, 4, (32, 48))))
    return tmp_path


def test_features_on_their_way_into_a_patch(world: Path) -> None:
    encoding = Encoding(features=("colour", "area"))
    encode(world / "masks", world / "values.npz", encoding, world / "hr")
    store = RegionStore(world / "masks")
    found = load_values(world / "values.npz", store)
    assert [v.shape for v in found] == [(4, 4), (4, 4)]
    assert bound(formulation("published", cosine_schedule()), found[0]) == abs(found[0]).max()
    with np.load(world / "values.npz") as data:
        assert json.loads(str(data["meta"]))["encoding"]["features"] == ["colour", "area"]
    patches = PatchSource(
        Store(world / "hr"), Store(world / "lr"), store.labels, found,
        scale=4, patch=16, seed=3, augment=True,
    )  # fmt: skip
    for channel in range(4):
        alone = PatchSource(
            Store(world / "hr"), Store(world / "lr"), store.labels, [v[:, channel] for v in found],
            scale=4, patch=16, seed=3, augment=True,
        )  # fmt: skip
        assert np.array_equal(patches.batch(0, 5)["e_sam"][:, channel], alone.batch(0, 5)["e_sam"][:, 0])


def test_features_of_pixels_need_the_images(world: Path) -> None:
    with pytest.raises(UserError, match="feature texture is one of the image; give --images"):
        encode(world / "masks", world / "values.npz", Encoding(features=("area", "texture")))
    assert not (world / "values.npz").exists()


# --- in the configuration -------------------------------------------------------------------------


@pytest.fixture
def raw(root: Path) -> dict[str, Any]:
    value = yaml.safe_load((root / "config.yaml").read_text())
    value["variants"]["mine"] = {"base": "sam_diffsr", "label": "Mine", "features": ["colour"]}
    return value


def test_a_variant_by_features(raw: dict[str, Any]) -> None:
    config = load_config(raw)
    assert encoding_name(config, "mine") == "rope-width-region-sum-zero-colour"
    recipe = denoiser_recipe(config, Run(variant="mine", scale=4, seed=0))
    assert recipe.structure is not None
    assert recipe.structure.features == ("colour",)
    assert recipe.region_features == 3
    theirs = denoiser_recipe(config, Run(variant="sam_diffsr", scale=4, seed=0))
    assert "features" not in theirs.text()
    assert set(encoded(config, "demo_train", "m", encoding_name(config, "mine"))) == {"labels", "images"}
    assert set(encoded(config, "demo_train", "m", encoding_name(config, "sam_diffsr"))) == {"labels"}


def test_a_changed_formula_of_a_feature_encodes_again(raw: dict[str, Any]) -> None:
    config = load_config(raw)
    plain, mine = (encoding_code(config, encoding_name(config, name)) for name in ("sam_diffsr", "mine"))
    assert plain == fingerprint("samdiffsr.masks.encode")
    assert mine == fingerprint("samdiffsr.masks.encode", "samdiffsr.masks.features") != plain


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"features": ["size"]}, "region feature 'size' is none of rope, cosine, linear, centre, area"),
        ({"position": "area"}, "'area' is no position map; name it among the `features`"),
        ({"position": "cosine"}, "position: 'cosine' has no effect beside `features`"),
        ({"features": ["centre"]}, "formulation 'published' takes 1 or 3 numbers a region, these are 2"),
        ({"formulation": "condition"}, "formulation 'condition' needs them at inference too"),
    ],
)
def test_what_does_not_go_together(raw: dict[str, Any], change: dict[str, Any], words: str) -> None:
    raw["variants"]["mine"] |= change
    with pytest.raises(UserError, match=words):
        load_config(raw)


def test_a_network_that_takes_masks_takes_all_of_their_numbers() -> None:
    network = DenoiserNetwork(
        scale=4, formulation="condition", unet=UNet(dim=8, mults=(1, 2)), region_features=2
    )
    net = build_denoiser(network, 8)
    cond = net.project(torch.zeros(1, 8, 4, 4), torch.zeros(1, 2, 16, 16))
    assert cond.shape == (1, 8, 16, 16)
