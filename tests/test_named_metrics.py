"""Metrics of pyiqa by name: defined in config.yaml, scored from local files alone, with and without truth."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from samdiffsr.config.config import Config
from samdiffsr.config.load import load_config
from samdiffsr.config.recipes.stages import score_recipe
from samdiffsr.config.recipes.tables import table_recipe
from samdiffsr.core import compat
from samdiffsr.core.errors import UserError
from samdiffsr.core.files import sha256_file
from samdiffsr.evaluation import networks
from samdiffsr.evaluation.image import ImageMetrics, Pair
from samdiffsr.evaluation.metrics import METRICS, ImageMetric
from samdiffsr.evaluation.protocol import Protocol
from samdiffsr.evaluation.recipe import ScoreRecipe
from samdiffsr.reporting.tables.recipe import TableRecipe
from samdiffsr.workflow.arguments import image_scoring_code, weight_row

FREE = ("psnr", "ssim", "vif", "gmsd", "nlpd", "mad", "piqe")  # pyiqa fetches nothing for them


@pytest.fixture
def raw(root: Path, own_metrics: None) -> dict[str, Any]:
    """config.yaml."""
    loaded: dict[str, Any] = yaml.safe_load((root / "config.yaml").read_text())
    return loaded


def defining(raw: dict[str, Any], **metrics: dict[str, Any]) -> Config:
    table = {**raw["tables"]["table2"], "metrics": ["psnr_y", *metrics], "differences": []}
    return load_config({**raw, "metrics": metrics, "tables": {"table2": table}, "figures": {}})


def pictures() -> tuple[np.ndarray, np.ndarray]:
    """A picture of waves, 96x120, and the same with noise."""
    y, x = np.mgrid[:96, :120]
    hr = 128 + 60 * np.sin(x / 9) * np.cos(y / 7) + 40 * np.sin((x + y) / 3)
    hr = np.stack([hr, hr[::-1], hr[:, ::-1]], axis=-1)
    sr = hr + np.random.default_rng(0).normal(0, 40, hr.shape)
    return sr.clip(0, 255).astype(np.uint8), hr.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", FREE)
def test_a_name_gives_pyiqas_own_value(raw: dict[str, Any], name: str) -> None:
    import pyiqa
    import torch

    config = defining(raw, mine={"pyiqa": name})
    sr, hr = pictures()
    metrics = ImageMetrics(score_recipe(config, 4).metrics)
    value = metrics.measure("mine", Pair(sr, hr, Protocol()))
    theirs = pyiqa.create_metric(name, device=torch.device("cpu"))
    images = [torch.tensor(x).permute(2, 0, 1)[None].float() / 255 for x in (sr, hr)]
    entry = METRICS["mine"]
    assert isinstance(entry, ImageMetric)
    assert value == float(theirs(*(images if entry.truth else images[:1])))
    assert entry.better == (-1 if theirs.lower_better else 1)
    assert entry.truth == (theirs.metric_mode == "FR")
    if entry.truth:  # the direction is the right one
        best = metrics.measure("mine", Pair(hr, hr, Protocol()))
        assert (best - value) * entry.better > 0


def test_options_are_pyiqas(raw: dict[str, Any]) -> None:
    config = defining(raw, a={"pyiqa": "psnr"}, b={"pyiqa": "psnr", "options": {"test_y_channel": True}})
    metrics = ImageMetrics(score_recipe(config, 4).metrics)
    pair = Pair(*pictures(), Protocol(color="yiq"))
    assert metrics.measure("b", pair) == metrics.measure("psnr_y", pair) != metrics.measure("a", pair)


def test_a_definition_travels_in_the_recipe(raw: dict[str, Any]) -> None:
    """A stage knows what its recipe says, and a table what its own says; nobody else is told."""
    config = defining(raw, gmsd={"label": "Gradients", "unit": "x", "decimals": 3})
    told, shown = score_recipe(config, 4).text(), table_recipe(config, "table2").text()
    METRICS.remove("gmsd")
    with pytest.raises(UserError, match="'gmsd' is none of"):
        METRICS["gmsd"]
    assert ScoreRecipe.parse(told).metrics == ("gmsd", "psnr_y")
    METRICS.remove("gmsd")
    assert TableRecipe.parse(shown).metrics == ("psnr_y", "gmsd")
    assert METRICS["gmsd"].heading == "Gradients (x)"
    assert "defined" not in score_recipe(defining(raw), 4).text()


def test_what_only_a_table_shows_scores_nothing_again(raw: dict[str, Any]) -> None:
    plain, shown = ({"pyiqa": "vif"}, {"pyiqa": "vif", "label": "VIF of pixels", "decimals": 2})
    a, b, c = (defining(raw, mine=m) for m in (plain, shown, {"pyiqa": "psnr"}))
    assert score_recipe(a, 4).text() == score_recipe(b, 4).text() != score_recipe(c, 4).text()
    assert image_scoring_code(defining(raw, mine=plain)) != image_scoring_code(
        defining(raw, mine=c.metrics["mine"].model_dump())
    )


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        ({"dist": {}}, r"metrics\.dist: pyiqa: no metric 'dist' \(did you mean 'dists'\?\)"),
        ({"mine": {"pyiqa": "fid"}}, r"metrics\.mine: pyiqa: 'fid' is no metric of one image"),
        ({"gmsd": {"better": 1}}, r"metrics\.gmsd: better: of 'gmsd' less is better"),
        ({"psnr_y": {"pyiqa": "psnr"}}, r"metrics: 'psnr_y' is a metric already"),
        ({"dists": {"weights": ["alexnt"]}}, r"no 'alexnt' in weights.yaml \(did you mean 'alexnet'\?\)"),
        ({"dists": {"weights": [{"file": "vgg16.pth"}]}}, r"weights\.0\.row\.sha256: missing"),
        (
            {"gmsd": {"weights": [{"file": "alexnet-owt-7be5be79.pth", "sha256": "7be5be79"}]}},
            r"alexnet-owt-7be5be79\.pth is 'alexnet' of weights\.yaml; name that",
        ),
        ({"gmsd": {"lable": "G"}}, r"metrics\.gmsd\.lable: unknown key \(did you mean 'label'\?\)"),
    ],
)
def test_a_wrong_definition_is_one_line(raw: dict[str, Any], metrics: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        load_config({**raw, "metrics": metrics})
    assert "\n" not in str(caught.value)


def test_what_another_configuration_defined_is_not_known_to_this_one(raw: dict[str, Any]) -> None:
    defining(raw, gmsd={})
    raw["tables"]["table2"]["metrics"] = ["gmsd"]
    with pytest.raises(UserError, match=r"tables\.table2\.metrics: no metric 'gmsd'"):
        load_config(raw)


# ---- weights ----


def test_a_file_that_no_definition_lists_is_refused_by_its_name(raw: dict[str, Any]) -> None:
    config = defining(raw, dists={}, niqe={})
    metrics = ImageMetrics(score_recipe(config, 4).metrics)
    pair = Pair(*pictures(), Protocol())
    for name, file in (("dists", "vgg16-397923af.pth"), ("niqe", "niqe_modelparameters.mat")):
        with pytest.raises(
            UserError, match=rf"pyiqa's {name} cannot be built: it needs the weight file {file}"
        ):
            metrics.measure(name, pair)


def test_a_listed_file_is_checked_and_read(raw: dict[str, Any], tmp_path: Path) -> None:
    """pyiqa would fetch the file; it gets ours, and only if it is the one that the definition means."""
    import torch
    from pyiqa.archs.cnniqa_arch import CNNIQA

    file = "CNNIQA_koniq10k-e6f14c91.pth"
    torch.manual_seed(3)
    state = CNNIQA(pretrained=None).state_dict()
    torch.save({"params": state}, tmp_path / file)
    row = {"file": file, "sha256": sha256_file(tmp_path / file)[:12], "urls": ["https://example.org/x"]}
    config = defining(raw, cnniqa={"weights": [row]})
    names = score_recipe(config, 4).metrics
    metrics = ImageMetrics(names, tmp_path)
    assert metrics.files == {file: tmp_path / file}
    assert np.isfinite(metrics.measure("cnniqa", Pair(*pictures(), Protocol())))
    (built,) = (metric for key, metric in metrics._built.items() if "cnniqa" in key)
    assert all(torch.equal(built.net.state_dict()[key], tensor) for key, tensor in state.items())
    assert weight_row(file)[1].startswith('{"file":"CNNIQA')  # what the rule that fetches it is told

    _, reasons = ImageMetrics.available(names, tmp_path / "empty")
    assert "CNNIQA_koniq10k-e6f14c91.pth not found; download https://example.org/x" in reasons["cnniqa"]
    (tmp_path / file).write_bytes(b"another")
    with pytest.raises(UserError, match="has SHA-256"):
        ImageMetrics(names, tmp_path)


def test_a_network_that_timm_would_fetch_shows_itself() -> None:
    import timm
    import torch

    getaddrinfo, create_model = socket.getaddrinfo, timm.create_model
    with compat.only_files({}):
        fetched = timm.create_model("resnet18", pretrained=True)
        assert all(tensor.isnan().all() for tensor in fetched.parameters())
        own = timm.create_model("resnet18", pretrained=False)
        assert not any(tensor.isnan().any() for tensor in own.parameters())
        with pytest.raises(UserError, match=r"needs the weight file net\.pth"):
            torch.hub.load_state_dict_from_url("https://example.org/a/net.pth")
    assert (socket.getaddrinfo, timm.create_model) == (getaddrinfo, create_model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "create", lambda *args, **options: fetched)
        with pytest.raises(UserError, match=r"a network of timm's whose weights no file .* holds \(conv1"):
            networks.build_named("topiq_fr", {})
