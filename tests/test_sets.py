"""FID and KID as a stage, and what a run costs."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samdiffsr.cli.evaluation import score_sets as score_sets_command
from samdiffsr.core.errors import UserError
from samdiffsr.core.files import sha256_file, write_json
from samdiffsr.data.images import write_png
from samdiffsr.data.store import StoreWriter
from samdiffsr.data.weights import MissingWeights
from samdiffsr.evaluation import set as stage
from samdiffsr.evaluation.cost import cost
from samdiffsr.evaluation.metrics import METRICS, SetMetric, of_kind
from samdiffsr.evaluation.recipe import SetScoreRecipe
from samdiffsr.evaluation.set import kernel_distance, score_sets
from samdiffsr.sampling.recipe import DenoiserRecipe
from samdiffsr.workflow.fingerprint import features_fingerprint

RECIPE = SetScoreRecipe(scale=4, metrics=of_kind(METRICS, SetMetric))


class Pooled:
    """A stand-in for Inception: 4 x 4 means of each channel."""

    sha256 = "pooled"
    calls = 0

    def __call__(self, images: Any) -> Any:
        import torch

        self.calls += 1
        return torch.nn.functional.adaptive_avg_pool2d(images, 4).flatten(1)


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, Path]:
    """HR store of four images, no multiples of 8, and the manifest of noisy SR images of the cropped size."""
    rng = np.random.default_rng(0)
    images = []
    with StoreWriter(tmp_path / "hr") as store:
        for i in range(4):
            hr = rng.integers(0, 256, (45, 51, 3), dtype=np.uint8)
            store.add(f"im{i}", hr)
            sr = np.clip(hr[:40, :48].astype(int) + rng.integers(-40, 60, (40, 48, 3)), 0, 255)
            write_png(tmp_path / f"set/im{i}.png", sr.astype(np.uint8))
            images.append({"name": f"im{i}", "sha256": sha256_file(tmp_path / f"set/im{i}.png")})
    recipe = DenoiserRecipe(scale=4).model_dump(mode="json")
    write_json(tmp_path / "set.json", {"images": images, "recipe": recipe})
    return tmp_path / "hr", tmp_path / "set.json"


def _score(
    made: tuple[Path, Path], network: Any = None, code: str = "", **changes: Any
) -> dict[str, dict[str, str]]:
    hr, manifest = made
    folder = manifest.parent
    recipe = RECIPE.but(**changes)
    score_sets(
        "a-x4-s0", "set", [manifest], hr, folder / "o.csv", recipe, folder / "cache", folder / "w", network,
        code=code,
    )  # fmt: skip
    return {row["metric"]: row for row in csv.DictReader((folder / "o.csv").read_text().splitlines())}


def test_the_rule_gives_what_scipy_and_the_definition_give_on_the_same_features(
    made: tuple[Path, Path],
) -> None:
    from scipy.linalg import sqrtm

    rows = _score(made, network := Pooled())
    assert {row["n"] for row in rows.values()} == {"4"}
    for metric, extractor in (("fid_clean", "clean"), ("fid_tf", "tf")):
        a, b = ({}, {})
        for path in (made[1].parent / "cache").glob("*.npz"):
            data = np.load(path)
            if str(data["extractor"]) == extractor:
                (a if path.name.startswith("sr") else b)["x"] = data["values"].astype(np.float64)
        a, b = a["x"], b["x"]
        root = sqrtm(np.cov(a, rowvar=False) @ np.cov(b, rowvar=False) + 1e-12 * np.eye(a.shape[1]))
        expected = np.square(a.mean(0) - b.mean(0)).sum()
        expected += np.trace(np.cov(a, rowvar=False) + np.cov(b, rowvar=False) - 2 * root.real)
        assert float(rows[metric]["value"]) == pytest.approx(expected, abs=1e-4 * max(1, expected))
        if metric == "fid_clean":
            assert float(rows["kid_clean"]["value"]) == pytest.approx(kernel_distance(a, b)[0], abs=1e-7)
    assert (rows["fid_patch299"]["value"], rows["fid_patch299"]["why_empty"]) == (
        "",
        "no image of at least 299 pixels a side",
    )
    calls = network.calls
    assert _score(made, network) == rows
    assert network.calls == calls  # features are kept


def test_features_of_other_code_are_made_again(
    made: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the code that the command names: what makes features, whatever metrics are asked for."""
    told: list[str] = []
    monkeypatch.setattr(stage, "score_sets", lambda *given, code, **more: told.append(code))
    for metrics in (("fid_clean",), ("fid_clean", "kid_clean")):
        here, recipe = made[0], RECIPE.but(metrics=metrics).text()
        score_sets_command(
            hr=here, out=here, cache=here, weights=here, run="r", dataset="d", manifests=[], recipe=recipe,
            device="cpu", threads=1,
        )  # fmt: skip
    assert told[0] == told[1] == features_fingerprint() != ""
    network = Pooled()
    _score(made, network, told[0])
    calls = network.calls
    _score(made, network, told[0])
    assert network.calls == calls
    _score(made, network, "edited")
    assert network.calls == 2 * calls


def test_without_weights_every_value_is_empty_and_says_why(made: tuple[Path, Path]) -> None:
    rows = _score(made)
    assert {row["value"] for row in rows.values()} == {""}
    assert all("not found; download https://" in row["why_empty"] for row in rows.values())
    with pytest.raises(MissingWeights, match="inception"):
        _score(made, missing_weights="fail")


def test_a_missing_image_is_left_out_on_both_sides_and_a_changed_one_is_refused(
    made: tuple[Path, Path],
) -> None:
    folder = made[1].parent / "set"
    before = _score(made, Pooled())
    (folder / "im0.png").unlink()
    after = _score(made, Pooled())
    assert (after["fid_clean"]["n"], before["fid_clean"]["n"]) == ("3", "4")
    assert after["fid_clean"]["value"] != before["fid_clean"]["value"]
    for i in (1, 2):
        (folder / f"im{i}.png").unlink()
    assert "at least 2 images" in _score(made, Pooled())["fid_clean"]["why_empty"]
    write_png(folder / "im3.png", np.zeros((40, 48, 3), np.uint8))
    with pytest.raises(UserError, match=r"im3\.png: is not the file that was sampled"):
        _score(made, Pooled())


def test_what_a_run_costs(tmp_path: Path) -> None:
    import torch

    from samdiffsr.models.model_file import save_model

    tensors = {"a": torch.zeros(3, 4), "b": torch.zeros(5)}
    save_model(tmp_path / "m.safetensors", tensors, tensors, {"recipe": {"kind": "denoiser"}})
    sampled = {
        "device": "A chip",
        "threads": 2,
        "weights": "ema",
        "peak_bytes": 7,
        "seconds": {"x": 1, "y": 1.46913578},
    }
    write_json(tmp_path / "t.json", sampled)
    record = {
        "device": "A chip",
        "threads": 2,
        "steps": 500,
        "seconds": 10.0,
        "peak_bytes": 9,
        "processes": 1,
    }
    write_json(tmp_path / "train.json", record)
    out = tmp_path / "o.csv"

    def rows(**more: Path) -> dict[str, dict[str, str]]:
        cost("a-x4-s0", "set", out, [tmp_path / "t.json"], **more)
        return {row["metric"]: row for row in csv.DictReader(out.read_text().splitlines())}

    found = rows(denoiser=tmp_path / "m.safetensors", training=tmp_path / "train.json")
    assert {name: row["value"] for name, row in found.items()} == {
        "parameters": "17", "encoder_parameters": "", "train_seconds": "2000", "train_memory": "9",
        "image_seconds": "1.23457", "image_memory": "7",
    }  # fmt: skip
    assert found["train_seconds"]["protocol"] == "A chip, 2 threads; extrapolated from 500 steps"
    assert found["image_seconds"]["n"] == "2"
    assert rows()["train_seconds"]["why_empty"] == "not trained here"
    write_json(tmp_path / "t.json", sampled | {"seconds": {}, "peak_bytes": 0})
    for metric in ("image_seconds", "image_memory"):
        assert (rows()[metric]["value"], rows()[metric]["why_empty"]) == ("", "not measured")
    assert json.loads((tmp_path / "t.json").read_text())["weights"] == found["parameters"]["weights"]
