"""SAM and MobileSAM: weight files, the mapping of names, and real networks with random weights end to end."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from segment_anything import SamAutomaticMaskGenerator, sam_model_registry

from samdiffsr.core import compat
from samdiffsr.core.errors import UserError
from samdiffsr.core.files import sha256_file
from samdiffsr.data.store import StoreWriter
from samdiffsr.masks.encode import encode, load_values
from samdiffsr.masks.recipe import Encoding, MaskRecipe
from samdiffsr.masks.segment import segment
from samdiffsr.masks.segmenters import registry, sam
from samdiffsr.masks.segmenters.registry import MobileSam, Places, Sam, make_segmenter
from samdiffsr.masks.store import RegionStore

# with random weights no mask would pass the thresholds
LENIENT = {"points_per_side": 3, "pred_iou_thresh": 0, "stability_score_thresh": 0}


@pytest.fixture(scope="module")
def official_shapes(root: Path) -> dict[str, list[int]]:
    """Names and shapes of mobile_sam.pt, in its order."""
    return json.loads((root / "tests/vectors/mobile_sam_keys.json").read_text())


@pytest.fixture(scope="module")
def mobile_file(official_shapes, tmp_path_factory) -> Path:
    """A file of the official format with random weights."""
    torch.manual_seed(0)
    state = {}
    for key, shape in official_shapes.items():
        counter = key.endswith("num_batches_tracked")
        spread = 0.2 if key.endswith("weight") and len(shape) > 1 else 0.02
        state[key] = torch.tensor(0) if counter else spread * torch.randn(shape)
        if key.endswith("running_var") or (key.endswith("weight") and len(shape) == 1):
            state[key] = 1 + state[key].abs()
    path = tmp_path_factory.mktemp("weights") / "mobile_random.pt"
    torch.save(state, path)
    return path


def photo(height: int = 40, width: int = 60) -> np.ndarray:
    image = np.random.default_rng(0).integers(0, 20, (height, width, 3), np.uint8)
    image[: height // 2, : width // 2] += 200
    image[height // 2 :, width // 2 :, 1] += 150
    return image


def own(path: Path) -> dict[str, str]:
    return {"file": path.name, "sha256": sha256_file(path)}


def test_every_key_of_the_official_file_has_its_place(official_shapes):
    assert len(official_shapes) == 439
    wanted = {key: list(value.shape) for key, value in compat.mobile_sam().state_dict().items()}
    assert official_shapes == wanted  # every key used, none missing, all of the right shape
    # what the weights take beside the file's framing agrees with the published size of 40,728,226 bytes
    numbers = [8 if key.endswith("tracked") else 4 * int(np.prod(s)) for key, s in official_shapes.items()]
    assert sum(numbers) == 40_561_032


def test_mobile_sam_loads_strictly(mobile_file, tmp_path):
    state = sam.read_state(mobile_file)
    for change, words in (
        (lambda s: s.pop("image_encoder.neck.2.weight"), "neck.2.weight is missing"),
        (lambda s: s.update({"image_encoder.more": torch.zeros(1)}), "expected nothing"),
        (lambda s: s.update({"image_encoder.neck.2.weight": torch.zeros(3)}), r"\(3,\)"),
    ):
        other = dict(state)
        change(other)
        torch.save(other, tmp_path / "other.pt")
        with pytest.raises(UserError, match=words):
            make_segmenter(MobileSam(**own(tmp_path / "other.pt")), Places(weights=tmp_path))


def test_every_loaded_weight_of_mobile_sam_counts(mobile_file):
    """Also the attention's biases, of which the package keeps a copy that loading alone leaves as it was."""
    made = make_segmenter(MobileSam(**own(mobile_file)), Places(weights=mobile_file.parent, device="cpu"))
    state = sam.read_state(mobile_file)
    network = made.generator.predictor.model
    loaded = network.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())
    attentions = {name: part for name, part in network.named_modules() if hasattr(part, "attention_biases")}
    assert len(attentions) == 10
    for name, part in attentions.items():
        biases = state[f"{name}.attention_biases"]
        assert biases.abs().min() > 0
        assert torch.equal(part.ab, biases[:, part.attention_bias_idxs])


def test_mobile_sam_through_the_whole_path(mobile_file, tmp_path):
    with StoreWriter(tmp_path / "lr") as writer:
        writer.add("a", photo(20, 32))
    segment(
        tmp_path / "lr",
        tmp_path / "regions",
        MaskRecipe(image="lr", segmenter=MobileSam(**own(mobile_file), **LENIENT, crop_n_layers=1)),
        scale=4,
        places=Places(weights=mobile_file.parent, device="cpu"),
    )
    store = RegionStore(tmp_path / "regions")
    regions = store[0]
    assert regions.shape == (80, 128)
    assert regions.n_masks > 0
    assert {"predicted_iou", "point_coords", "stability_score", "crop_box"} == set(regions.per_mask)
    assert len(np.unique(regions.per_mask["crop_box"], axis=0)) > 1
    small = regions.labels[::4, ::4]  # nothing but enlarged pixels: no overlap that LR does not have
    assert np.array_equal(regions.labels, small.repeat(4, 0).repeat(4, 1))
    assert store.meta["segmenter"]["kind"] == "mobile_sam"
    assert store.meta["segmenter"]["weights"] == sha256_file(mobile_file)
    assert str(mobile_file.parent) not in json.dumps(store.meta)  # no path of this machine
    encode(tmp_path / "regions", tmp_path / "values.npz", Encoding())
    assert len(load_values(tmp_path / "values.npz", store)[0]) == regions.n_atoms + 1


@pytest.fixture(scope="module")
def vit_b_file(tmp_path_factory) -> Path:
    """A vit_b of the real architecture, in a file of the official format, with random weights."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "vit_b_random.pth"
    torch.save(sam_model_registry["vit_b"]().state_dict(), path)
    return path


@pytest.mark.slow
def test_sam_vit_b_through_the_whole_path(vit_b_file, tmp_path):
    with StoreWriter(tmp_path / "hr") as writer:
        writer.add("a", photo())
    recipe = MaskRecipe(image="hr", segmenter=Sam(model="vit_b", **own(vit_b_file), **LENIENT))
    places = Places(weights=vit_b_file.parent, device="cpu")
    segment(tmp_path / "hr", tmp_path / "regions", recipe, places=places)
    regions = RegionStore(tmp_path / "regions")[0]
    assert regions.shape == (40, 60)
    assert regions.n_masks > 0
    score = regions.per_mask["predicted_iou"]
    assert (np.diff(score) <= 0).all()  # the generator's order: the best first
    encode(tmp_path / "regions", tmp_path / "values.npz", Encoding(overlap="overwrite"))


@pytest.mark.slow
def test_sam_of_another_variant_is_refused(vit_b_file):
    with pytest.raises(UserError, match="weights of sam_vit_b, not of sam_vit_h"):
        make_segmenter(Sam(**own(vit_b_file)), Places(weights=vit_b_file.parent))


def test_released_defaults():
    """The parameters of the package's own generator, by name and value."""
    import inspect

    released = inspect.signature(SamAutomaticMaskGenerator.__init__).parameters
    for name in registry.GENERATOR:
        assert registry.GridPrompted.model_fields[name].default == released[name].default, name
    left_out = set(released) - set(registry.GENERATOR)
    assert left_out == {"self", "model", "point_grids", "output_mode"}


def test_wrong_weights_are_refused_in_one_line(tmp_path, mobile_file):
    junk = tmp_path / "junk.pth"
    junk.write_bytes(b"<html>404</html>" * 10)
    listed = tmp_path / "list.pth"
    torch.save([1, 2], listed)
    evil = tmp_path / "evil.pth"
    torch.save({"x": Path("/nowhere")}, evil)  # an object: weights_only refuses to make it
    official = tmp_path / "sam_vit_b_01ec64.pth"
    official.write_bytes(mobile_file.read_bytes())
    places = Places(weights=tmp_path)
    for settings, words in (
        (Sam(model="vit_b", **own(junk)), "junk.pth: not readable as a file of PyTorch"),
        (MobileSam(**own(listed)), "list.pth: holds no mapping"),
        (MobileSam(**own(evil)), "evil.pth: not readable"),
        (Sam(model="vit_b"), r"sam_vit_b_01ec64\.pth has SHA-256"),
        (Sam(), r"sam_vit_h_4b8939\.pth not found; download https"),
    ):
        with pytest.raises(UserError, match=words) as caught:
            make_segmenter(settings, places)
        assert "\n" not in str(caught.value)
    (tmp_path / "mobile.pth").write_bytes(mobile_file.read_bytes())
    with pytest.raises(UserError, match="weights of mobile_sam, not of sam_vit_h"):
        make_segmenter(Sam(**own(tmp_path / "mobile.pth")), places)
    with pytest.raises(UserError, match="device 'tpu'"):
        make_segmenter(Sam(), Places(weights=tmp_path, device="tpu"))
    with pytest.raises(UserError, match="say with --weights where the weight files are"):
        make_segmenter(Sam())
