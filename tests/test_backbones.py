"""Denoisers by name: SRDiff's U-Net as ever, one out of a library, and what does not go with it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import yaml

from samdiffsr.config.load import load_config
from samdiffsr.config.recipes.stages import denoiser_recipe
from samdiffsr.config.schema import Run
from samdiffsr.core.errors import UserError
from samdiffsr.models.bands import BandedDenoiser
from samdiffsr.models.denoiser import build_denoiser
from samdiffsr.models.recipe import DenoiserNetwork
from samdiffsr.models.registry import DiffusersUNet, SRDiffUNet, UNet
from samdiffsr.models.unet import DenoisingUNet
from samdiffsr.workflow.arguments import training_code

SMALL = DiffusersUNet(channels=(8, 16), layers=1, groups=4)


def network(**changes: Any) -> DenoiserNetwork:
    return DenoiserNetwork(scale=4, formulation="none", unet=UNet(dim=8, mults=(1, 2))).but(**changes)


def test_srdiffs_unet_starts_from_the_same_weights_however_it_is_named() -> None:
    found = []
    for backbone in (None, SRDiffUNet(dim=8, mults=(1, 2))):
        torch.manual_seed(0)
        found.append(build_denoiser(network(backbone=backbone), 6).state_dict())
    torch.manual_seed(0)
    found.append(DenoisingUNet(8, (1, 2), 6, 4).state_dict())
    for name, weight in found[0].items():
        assert torch.equal(weight, found[1][name])
        assert torch.equal(weight, found[2][name])


@pytest.mark.parametrize(("formulation", "attention"), [("none", False), ("condition", True)])
def test_a_denoiser_out_of_diffusers(formulation: str, attention: bool) -> None:
    pytest.importorskip("diffusers")
    settings = SMALL.but(attention=attention)
    told = network(backbone=settings, formulation=formulation)
    assert DenoiserNetwork.parse(told.text()) == told
    net = build_denoiser(told, 6)
    mask = torch.rand(2, 1, 16, 24) if formulation == "condition" else None
    cond = net.project(torch.rand(2, 6, 4, 6), mask)
    x_t, t = torch.rand(2, 3, 16, 24), torch.tensor([0, 99])
    y = net(x_t, t, cond)
    assert y.shape == x_t.shape
    torch.testing.assert_close(net(x_t[:1], t[:1], cond[:1]), y[:1])  # alone as in a batch
    y.square().mean().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_an_architecture_without_bands_is_given_the_whole_image_or_refuses() -> None:
    pytest.importorskip("diffusers")
    net = build_denoiser(network(backbone=SMALL), 6).eval()
    features = torch.rand(1, 6, 4, 6)
    with torch.no_grad():
        banded = BandedDenoiser(net, features, None, 10_000_000, 4, lambda: None)
        x_t, t = torch.rand(1, 3, 16, 24), torch.tensor([5])
        assert banded.bands == 1
        torch.testing.assert_close(banded(x_t, t), net(x_t, t, net.project(features)))
    with pytest.raises(UserError, match=r"DiffusersDenoiser sees the image as a whole and cannot .* bands"):
        BandedDenoiser(net, features, None, 1000, 4, lambda: None)


@pytest.fixture
def raw(root: Any) -> dict[str, Any]:
    value = yaml.safe_load((root / "config.yaml").read_text())
    backbone = {"kind": "diffusers_unet", "channels": [16, 32], "groups": 4}
    value["variants"]["mine"] = {"base": "sam_diffsr", "label": "Mine", "backbone": backbone}
    return value


def test_a_variant_of_another_architecture(raw: dict[str, Any]) -> None:
    config = load_config(raw)
    recipe = denoiser_recipe(config, Run(variant="mine", scale=4, seed=0))
    assert recipe.backbone == DiffusersUNet(channels=(16, 32), groups=4)
    assert "backbone" not in denoiser_recipe(config, Run(variant="sam_diffsr", scale=4, seed=0)).text()
    assert training_code(config, "mine") != training_code(config, "sam_diffsr")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "transformer"}, "backbone 'transformer' is none of unet, diffusers_unet"),
        ({"groups": 5}, r"backbone diffusers_unet: groups: 5 does not divide all channels \[16, 32\]"),
        ({"dim": 4}, "backbone diffusers_unet: dim: unknown key"),
        ({"channels": [16] * 6}, "training.patch 48 must be a multiple of 32"),
    ],
)
def test_what_is_wrong_with_a_backbone_is_named(
    raw: dict[str, Any], change: dict[str, Any], words: str
) -> None:
    raw["variants"]["mine"]["backbone"] |= change
    with pytest.raises(UserError, match=words):
        load_config(raw)
