"""Patches of other people's packages: each does what it is for, and leaves the package as it was."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from samdiffsr.core import compat
from samdiffsr.core.errors import UserError


def test_compat_imports_no_package_before_it_is_asked_for() -> None:
    code = (
        "import sys, samdiffsr.core.compat\n"
        "print(sorted({'torch', 'timm', 'pyiqa', 'segment_anything', 'mobile_sam'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_generator_is_the_packages() -> None:
    """Same masks with and without the one-device suppression, and the package itself stays as it was."""
    import segment_anything.automatic_mask_generator as package

    boxes = torch.rand(300, 4, generator=torch.Generator().manual_seed(0)) * 50
    boxes[:, 2:] += boxes[:, :2]
    scores = torch.rand(300, generator=torch.Generator().manual_seed(1))
    theirs = package.batched_nms(boxes, scores, torch.zeros(300), 0.7)
    assert 0 < len(theirs) < 300
    ours = compat.one_device_generator()
    assert issubclass(ours, package.SamAutomaticMaskGenerator)
    for name in ("_process_crop", "_generate_masks"):
        seen = getattr(ours, name).__globals__["batched_nms"]
        assert torch.equal(seen(boxes, scores, torch.zeros(300), 0.7), theirs)
        assert getattr(package.SamAutomaticMaskGenerator, name).__globals__["batched_nms"] is not seen


def test_mobile_sam_comes_without_warnings_and_timm_keeps_its_own() -> None:
    code = (
        "import warnings; warnings.simplefilter('always')\n"
        "from samdiffsr.core import compat; import timm; before = warnings.filters[:]\n"
        "net = compat.mobile_sam(); assert warnings.filters == before\n"
        "print(sum(p.numel() for p in net.parameters()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "10130092\n"
    assert "Overwriting" not in done.stderr
    assert "timm.models" not in done.stderr


def test_ssims_filter_by_axis_is_pyiqas_own() -> None:
    from pyiqa.matlab_utils import filter2, fspecial

    window = fspecial(11, 1.5, 2).double()
    image = torch.rand(1, 2, 20, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(compat._by_axis(image, window, "valid"), filter2(image, window, "valid"))
    with pytest.raises(ValueError, match="not 'same'"):
        compat._by_axis(image, window, "same")


def test_networks_are_given_and_not_fetched() -> None:
    import timm
    import torchvision

    before = timm.create_model, torchvision.models.alexnet
    backbone = torch.nn.Identity()
    with compat.offline(), compat.given_alexnet(backbone), compat.random_vit():
        assert torchvision.models.alexnet(pretrained=True) is backbone
        assert timm.create_model("vit_tiny_patch16_224", pretrained=True).num_classes == 1000
    assert (timm.create_model, torchvision.models.alexnet) == before


def test_offline_nothing_is_reached() -> None:
    import requests

    with compat.offline(), pytest.raises(UserError, match="tried to reach the network"):
        requests.get("http://localhost:9", timeout=1)


def test_psnr_and_ssim_come_without_the_rest_of_pyiqa_which_can_be_imported_later() -> None:
    code = (
        "import sys, numpy as np, torch\n"
        "from samdiffsr.evaluation import networks\n"
        "images = np.random.default_rng(0).integers(0, 256, (2, 20, 24, 3), dtype=np.uint8)\n"
        "alone = [networks.build_psnr('cpu', 'ycbcr'), networks.build_ssim('cpu', 'yiq')]\n"
        "values = [networks.value(metric, *images) for metric in alone]\n"
        "heavy = {'pyiqa', 'pyiqa.archs', 'pyiqa.utils', 'torchvision', 'cv2', 'timm', 'transformers'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
        "import pyiqa\n"
        "cpu = torch.device('cpu')\n"
        "whole = [pyiqa.create_metric('psnr', device=cpu, test_y_channel=True, color_space='ycbcr'),\n"
        "         pyiqa.create_metric('ssim', device=cpu, color_space='yiq')]\n"
        "print(values == [networks.value(metric, *images) for metric in whole])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\nTrue\n"
