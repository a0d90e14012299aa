"""Placebos: regions that look like an image's own and say nothing about it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from samdiffsr.cli.app import main
from samdiffsr.config.config import Config
from samdiffsr.config.load import load_config
from samdiffsr.config.recipes.stages import mask_recipe
from samdiffsr.core.errors import UserError
from samdiffsr.data.store import StoreWriter
from samdiffsr.masks.regions import Regions
from samdiffsr.masks.segmenters.placebo import convex, derangement
from samdiffsr.masks.segmenters.registry import Placebo, Places, make_segmenter, settings_of
from samdiffsr.masks.store import RegionStore, RegionStoreWriter
from samdiffsr.workflow import arguments
from samdiffsr.workflow.inputs import stores

SIZES = {"a": (64, 80), "b": (64, 80), "c": (64, 80), "tall": (90, 60), "wide": (40, 100)}


def blobs(shape: tuple[int, int], k: int, seed: int, hole: bool = False) -> Regions:
    """k ragged regions, none of them convex, with areas that differ tenfold; maybe a hole between them."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    sites = rng.random((k, 2)) * shape
    reach = rng.uniform(0.3, 1, k)
    wobble = 6 * np.sin(x / 5) + 6 * np.cos(y / 4)
    labels = np.argmin(
        [np.hypot(y - s[0] + wobble, x - s[1]) / r for s, r in zip(sites, reach, strict=True)], axis=0
    )
    if hole:
        labels[10:30, 20:50] = -1
    return Regions.from_partition(labels + 1)


@pytest.fixture
def regions(tmp_path: Path) -> RegionStore:
    with RegionStoreWriter(tmp_path / "own") as writer:
        for seed, (name, shape) in enumerate(SIZES.items()):
            writer.add(name, blobs(shape, 9 + seed, seed, hole=name == "b"))
    return RegionStore(tmp_path / "own")


def placebo(regions: RegionStore, kind: str):
    return make_segmenter(Placebo(regions=kind, of="own"), Places(regions=regions.path))


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(st.text(min_size=1), st.sampled_from([(4, 4), (4, 6), (6, 4)]), min_size=2, max_size=12)
)
def test_no_image_is_its_own_donor_and_sizes_agree_where_they_can(shapes: dict[str, tuple[int, int]]) -> None:
    donors = derangement(shapes)
    assert set(donors) == set(shapes)
    assert all(donors[name] != name for name in shapes)
    assert donors == derangement(dict(reversed(shapes.items())))  # whatever the order of the store
    for name, donor in donors.items():
        if sum(shape == shapes[name] for shape in shapes.values()) > 1:
            assert shapes[donor] == shapes[name]
    for size in set(shapes.values()):
        same = [name for name, shape in shapes.items() if shape == size]
        if len(same) > 1:
            assert sorted(donors[name] for name in same) == sorted(same)  # each gives once


def test_a_single_image_has_no_other() -> None:
    with pytest.raises(UserError, match="two images or more"):
        derangement({"a": (4, 4)})


def test_another_images_regions(regions: RegionStore) -> None:
    segmenter = placebo(regions, "other_image")
    image = np.zeros((64, 80, 3), np.uint8)
    found = {name: segmenter(image, name) for name in "abc"}
    own = {name: regions[regions.index(name)] for name in "abc"}
    for name, other in found.items():
        donor = segmenter.donors[name]
        assert donor in "abc"
        assert np.array_equal(other.labels, own[donor].labels)
        assert not np.array_equal(other.labels, own[name].labels)
    tall = segmenter(np.zeros((90, 60, 3), np.uint8), "tall")
    assert segmenter.donors["tall"] == "wide"
    assert tall.shape == (90, 60)  # fitted
    assert tall.n_masks == regions[regions.index("wide")].n_masks


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 25), st.booleans())
def test_random_regions_are_as_many_as_large_and_convex(seed: int, k: int, hole: bool) -> None:
    own = blobs((64, 80), k, seed, hole)
    found = convex(own, np.random.default_rng(seed))
    masks = sum(len(atoms) > 0 for atoms in own.members)
    assert found.n_masks == masks
    areas = [np.sort(np.bincount(r.labels.ravel(), minlength=r.n_atoms + 1)[1:]) for r in (own, found)]
    assert np.abs(np.subtract(*areas)).sum() < 0.06 * own.labels.size
    assert abs(int((own.labels == 0).sum()) - int((found.labels == 0).sum())) < 0.05 * own.labels.size
    for i in range(found.n_masks):  # the middle of any two pixels of a region lies in it
        rows, columns = np.nonzero(found.mask(i))
        rng = np.random.default_rng(i)
        a, b = rng.integers(0, len(rows), (2, 200))
        even = ((rows[a] + rows[b]) % 2 == 0) & ((columns[a] + columns[b]) % 2 == 0)
        middle = (rows[a] + rows[b])[even] // 2, (columns[a] + columns[b])[even] // 2
        assert found.mask(i)[middle].all()


def test_masks_that_overlap_count_with_their_share() -> None:
    square = np.zeros((60, 60), bool)
    square[:40, :40] = True
    other = np.zeros((60, 60), bool)
    other[20:, 20:] = True
    found = convex(Regions.from_masks([square, other]), np.random.default_rng(0))
    covered = int((square | other).sum())
    areas = np.bincount(found.labels.ravel())
    assert areas[1:].tolist() == pytest.approx([covered / 2] * 2, rel=0.05)
    assert areas[0] == pytest.approx(3600 - covered, rel=0.05)


def test_an_image_without_masks_stays_without() -> None:
    empty = Regions.from_masks([], shape=(20, 30))
    assert convex(empty, np.random.default_rng(0)).n_masks == 0


def test_a_name_decides_its_random_regions(regions: RegionStore) -> None:
    image = np.zeros((64, 80, 3), np.uint8)
    segmenter, again = placebo(regions, "voronoi"), placebo(regions, "voronoi")
    assert np.array_equal(segmenter(image, "a").labels, again(image, "a").labels)
    assert not np.array_equal(segmenter(image, "a").labels, segmenter(image, "b").labels)
    assert segmenter.describe()["source"] == regions.digest


@pytest.mark.parametrize("kind", ["other_image", "voronoi"])
def test_the_stage_makes_them_of_a_region_store(kind: str, regions: RegionStore, tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "hr", kind="hr") as writer:
        for name, shape in SIZES.items():
            writer.add(name, np.zeros((*shape, 3), np.uint8))
    recipe = f'{{"image":"hr","segmenter":{{"kind":"placebo","of":"own","regions":"{kind}"}}}}'
    command = ["segment", "--source", tmp_path / "hr", "--out", tmp_path / kind, "--recipe", recipe]
    main([str(word) for word in [*command, "--regions", regions.path]])
    made = RegionStore(tmp_path / kind)
    assert list(made.names) == list(SIZES)
    assert made.meta["segmenter"] == {"kind": "placebo", "regions": kind, "source": regions.digest}
    assert made.digest != regions.digest


def test_what_is_wrong_is_said(regions: RegionStore) -> None:
    with pytest.raises(ValueError, match=r"regions.*'other_image' or 'voronoi'"):
        settings_of({"kind": "placebo", "regions": "mine", "of": "own"})
    with pytest.raises(ValueError, match=r"of.*(required|missing)"):
        settings_of({"kind": "placebo", "regions": "voronoi"})
    with pytest.raises(UserError, match="it needs the regions of 'own'"):
        make_segmenter(Placebo(regions="voronoi", of="own"))
    with pytest.raises(UserError, match=r"regions of a are \(64, 80\), the image is \(8, 8\)"):
        placebo(regions, "voronoi")(np.zeros((8, 8, 3), np.uint8), "a")


# --- in the configuration


def config(root: Path, **top: object) -> Config:
    return load_config({**yaml.safe_load((root / "config.yaml").read_text(encoding="utf-8")), **top})


@pytest.mark.parametrize("study", ["demo", "reduced", "small", "paper"])
def test_every_study_has_the_placebos_of_its_own_masks(study: str, root: Path) -> None:
    found = config(root, study=study)
    own = found.mask_set("sam_diffsr")
    for variant, kind in (("placebo_other", "other_image"), ("placebo_voronoi", "voronoi")):
        name = found.mask_set(variant)
        assert name == f"{own}_{kind}"
        assert dict(mask_recipe(found, name).segmenter) == {"kind": "placebo", "regions": kind, "of": own}
        data = found.chosen.train_set
        index = f"data/masks/{data}/{own}.json"
        assert index in stores.segmentation(found, data, name)["regions"]
        assert arguments.mask_places(found, data, name) == ["--regions", f"data/masks/{data}/{own}"]
    shown = {variant for table in ("tables1", "tables3") for variant in found.tables[table].variants}
    assert shown >= {"placebo_other", "placebo_voronoi"}


def test_masks_found_on_lr_have_no_placebo(root: Path) -> None:
    raw = yaml.safe_load((root / "config.yaml").read_text(encoding="utf-8"))
    raw["variants"]["mine"] = {"base": "sam_diffsr", "label": "x", "masks": "low", "placebo": "voronoi"}
    with pytest.raises(UserError, match=r"mine\.placebo: masks found on LR images have none"):
        load_config(raw)
    raw["variants"]["mine"] = {"base": "srdiff", "label": "x", "placebo": "voronoi"}
    with pytest.raises(UserError, match="it stands in for masks"):
        load_config(raw)
