"""The training loop: exact resume, randomness by sample index, learning rates, and how it stops."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from samdiffsr.cli import app
from samdiffsr.config.load import load_config
from samdiffsr.core.errors import UserError
from samdiffsr.core.randomness import sample_generator
from samdiffsr.data.store import Store
from samdiffsr.masks.encode import encode
from samdiffsr.masks.recipe import Encoding
from samdiffsr.masks.regions import Regions
from samdiffsr.masks.store import RegionStoreWriter
from samdiffsr.models.model_file import open_model
from samdiffsr.training import trainer as loop
from samdiffsr.training.encoder import encoder_task
from samdiffsr.training.job import Job, learning_rate
from samdiffsr.training.recipe import Training
from samdiffsr.workflow.arguments import training_code
from samdiffsr.workflow.fingerprint import training_fingerprint
from tests.training import STEPS, denoiser_recipe, encoder_recipe, same, train, train_command


class Killed(BaseException):
    """As by `kill -9`: nothing is said and nothing is saved."""


def _kill(after: int) -> Callable[[int], None]:
    def on_step(step: int) -> None:
        if step == after:
            raise Killed

    return on_step


@pytest.mark.parametrize("kind", ["encoder", "denoiser"])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_training_equals_an_uninterrupted_one_bit_for_bit(
    data: Path, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, workers: int
) -> None:
    recipe = encoder_recipe() if kind == "encoder" else denoiser_recipe()
    monkeypatch.setattr(loop, "POINTS", 4)  # a point every 2 steps, a state every 3
    train(data, tmp_path / "whole", kind, recipe, save_every=3)
    with pytest.raises(Killed):
        train(data, tmp_path / "pieces", kind, recipe, on_step=_kill(after=8), save_every=3)
    assert not (tmp_path / "pieces" / "model.safetensors").exists()
    assert sorted(p.name for p in (tmp_path / "pieces/state").rglob("*.pt")) == [
        "state-00000003.pt",
        "state-00000006.pt",
    ]
    train(data, tmp_path / "pieces", kind, recipe, save_every=3, workers=workers)
    assert same(tmp_path / "whole", tmp_path / "pieces")
    assert list((tmp_path / "pieces/state").iterdir()) == []  # nothing left to resume


def test_a_state_of_other_code_is_not_gone_on_from(
    data: Path, tmp_path: Path, said: pytest.LogCaptureFixture
) -> None:
    steps: list[int] = []

    def trained(code: str, after: int | None) -> list[int]:
        steps.clear()
        stop = _kill(after or 0)
        with contextlib.suppress(Killed):
            train(
                data, tmp_path, "encoder", encoder_recipe(), lambda step: (steps.append(step), stop(step)),
                save_every=3, code=code,
            )  # fmt: skip
        return list(steps)

    assert trained("as it was", 5) == [1, 2, 3, 4, 5]
    assert trained("edited", 2) == [1, 2]
    assert any("holds states of another recipe, data, precision or code" in line for line in said.messages)
    assert trained("as it was", None) == [4, 5, 6, 7, 8, STEPS]


@pytest.mark.parametrize("kind", ["encoder", "denoiser"])
def test_the_command_names_the_code_that_the_rule_trains_again_for(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    jobs: list[Job] = []
    monkeypatch.setattr(f"samdiffsr.training.{kind}.train_{kind}", lambda job, *given: jobs.append(job))
    recipe = encoder_recipe() if kind == "encoder" else denoiser_recipe()
    told = train_command(tmp_path, tmp_path, kind, recipe)[3:]
    app.main(told)
    config = load_config(yaml.safe_load((root / "config.yaml").read_text()))
    rules = {"encoder": training_fingerprint(), "denoiser": training_code(config, "sam_diffsr")}
    assert jobs[0].code == rules[kind] != rules["encoder" if kind == "denoiser" else "denoiser"]


def test_kill_9_and_resume_through_the_command_line(data: Path, encoder: Path, tmp_path: Path) -> None:
    recipe = denoiser_recipe(steps=60)
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    subprocess.run(
        train_command(data, whole, "denoiser", recipe, "--save-every", "5"), check=True, capture_output=True
    )
    command = train_command(data, pieces, "denoiser", recipe, "--save-every", "5")
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list((pieces / "state").rglob("state-*.json")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL, "the training was over before it could be killed"
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "goes on after" in done.stdout
    assert same(whole, pieces)


def test_sigterm_saves_the_state_and_says_how_to_go_on(data: Path, encoder: Path, tmp_path: Path) -> None:
    recipe = denoiser_recipe(steps=5000)
    command = train_command(data, tmp_path, "denoiser", recipe, "--save-every", "100000")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if "step 50/" in line:
            break
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "my-denoiser: stopped by SIGTERM after step" in err.splitlines()[-1]
    assert "run the same command to go on" in err
    assert len(list((tmp_path / "state").rglob("state-*.pt"))) == 1


def test_a_sample_is_the_same_whatever_batch_it_falls_into() -> None:
    a = [torch.randn(4, generator=sample_generator(3, i)) for i in range(6)]
    b = [torch.randn(4, generator=sample_generator(3, i)) for i in reversed(range(6))]
    assert all(torch.equal(x, y) for x, y in zip(a, reversed(b), strict=True))
    drawn = {
        tuple(torch.randn(2, generator=sample_generator(s, i)).tolist()) for s in range(20) for i in range(50)
    }
    assert len(drawn) == 1000  # seeds and indices do not collide


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"lr_schedule": "cosine"}, {0: 2e-4, 50: 1e-4, 99: 2e-4 * (1 + np.cos(np.pi * 0.99)) / 2}),
        ({"lr_schedule": "step", "lr_step": 40}, {0: 2e-4, 39: 2e-4, 40: 1e-4, 80: 5e-5}),
        ({"lr_schedule": "constant", "warmup": 4}, {0: 5e-5, 3: 2e-4, 99: 2e-4}),
    ],
)
def test_learning_rates(changes: dict[str, Any], expected: dict[int, float]) -> None:
    training = Training(steps=100, **changes)
    for step, lr in expected.items():
        assert learning_rate(step, training) == pytest.approx(lr, rel=1e-12)


def test_ema_is_the_average_it_says(data: Path, tmp_path: Path) -> None:
    """With a learning rate of almost nothing EMA and raw weights agree; with a real one they differ."""
    train(data, tmp_path / "still", "encoder", encoder_recipe(lr=1e-12))
    train(data, tmp_path / "moving", "encoder", encoder_recipe(lr=1e-2))
    for name, close in (("still", True), ("moving", False)):
        model = open_model(tmp_path / name / "model.safetensors")
        raw, ema = model.weights("raw"), model.weights("ema")
        assert all(torch.allclose(raw[key], ema[key], atol=1e-6) for key in raw) is close


def test_a_loss_that_is_not_finite_stops_with_run_and_step(
    data: Path, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from samdiffsr.training import denoiser

    calls = {"n": 0}
    honest = denoiser.pixel_loss

    def poisoned(*args: Any) -> torch.Tensor:
        calls["n"] += 1
        return honest(*args) * (float("nan") if calls["n"] == 5 else 1)

    monkeypatch.setattr(denoiser, "pixel_loss", poisoned)
    with pytest.raises(
        UserError, match=r"denoiser: the loss is not finite at step 5; lower its training\.lr"
    ):
        train(data, tmp_path, "denoiser", denoiser_recipe())
    assert not (tmp_path / "model.safetensors").exists()


@pytest.mark.parametrize("step", [3, STEPS])
def test_a_gradient_that_is_not_finite_in_the_last_step_leaves_no_model_of_nans(
    data: Path, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """The losses are all finite: the one of this step adds a root of 0, whose slope is not."""
    from samdiffsr.training import denoiser

    calls = {"n": 0}
    honest = denoiser.pixel_loss

    def poisoned(kind: str, prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        calls["n"] += 1
        loss = honest(kind, prediction, target)
        return loss + (prediction * 0).sum().abs().sqrt() if calls["n"] == step else loss

    monkeypatch.setattr(denoiser, "pixel_loss", poisoned)
    with pytest.raises(
        UserError, match=rf"denoiser: the weights are not finite after step {step}; lower its"
    ):
        train(data, tmp_path, "denoiser", denoiser_recipe(), save_every=3)
    assert not (tmp_path / "model.safetensors").exists()
    assert len(list((tmp_path / "state").rglob("state-*.pt"))) == (0 if step == 3 else 2)


@pytest.mark.parametrize("formulation", ["none", "published", "released", "consistent", "condition"])
def test_every_formulation_trains(data: Path, encoder: Path, tmp_path: Path, formulation: str) -> None:
    train(data, tmp_path, "denoiser", denoiser_recipe(formulation, steps=3))
    info = open_model(tmp_path / "model.safetensors", "denoiser").info
    assert info["recipe"]["formulation"] == formulation
    assert ("labels" in info["digests"]) == (formulation != "none")


def test_published_with_an_empty_structure_trains_the_very_same_network_as_srdiff(
    data: Path, encoder: Path, tmp_path: Path
) -> None:
    """The control: e_sam = 0 through the same pipeline is SRDiff, bit for bit."""
    hr = Store(data / "hr")
    flat = tmp_path / "flat"
    flat.mkdir()
    with RegionStoreWriter(flat / "labels") as store:
        for i, name in enumerate(hr.names):
            store.add(name, Regions.from_masks([], shape=hr.shape(i)[:2]))
    encode(flat / "labels", flat / "values.npz", Encoding(position="rope"))
    for name in ("hr.bin", "hr.json", "lr.bin", "lr.json", "encoder.safetensors"):
        (flat / name).write_bytes((data / name).read_bytes())
    train(data, tmp_path / "srdiff", "denoiser", denoiser_recipe("none"))
    train(flat, tmp_path / "control", "denoiser", denoiser_recipe("published"))
    a, b = (open_model(tmp_path / n / "model.safetensors").weights("raw") for n in ("srdiff", "control"))
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_the_trainer_computes_what_a_plain_loop_does_bit_for_bit(data: Path, tmp_path: Path) -> None:
    """The loop of every textbook, of an encoder: the trainer adds to it, and changes no number."""
    recipe = encoder_recipe(clip_grad=0.5, warmup=3)
    training = recipe.training
    train(data, tmp_path, "encoder", recipe)
    task = encoder_task(recipe, data / "hr", data / "lr")
    net = task.net.to(memory_format=torch.channels_last)
    mean = {key: value.clone() for key, value in net.state_dict().items()}
    adam = torch.optim.Adam(net.parameters(), lr=training.lr, fused=True)
    for step in range(training.steps):
        arrays = task.cut(step * training.batch, training.batch)
        lr, hr = (torch.from_numpy(arrays[name]).float() / 255 for name in ("lr", "hr"))
        adam.param_groups[0]["lr"] = learning_rate(step, training)
        adam.zero_grad()
        (net(lr) - hr).abs().mean().backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), training.clip_grad)
        adam.step()
        for key, value in net.state_dict().items():
            mean[key].lerp_(value, 1 - min(training.ema, (1 + step) / (10 + step)))
    trained = open_model(tmp_path / "model.safetensors")
    for kind, expected in (("raw", net.state_dict()), ("ema", mean)):
        found = trained.weights(kind)
        assert all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.mark.slow
def test_two_processes_train_as_one_up_to_summation(data: Path, encoder: Path, tmp_path: Path) -> None:
    recipe = denoiser_recipe(batch=4)
    train(data, tmp_path / "one", "denoiser", recipe)
    command = train_command(data, tmp_path / "two", "denoiser", recipe, "--processes", "2")
    subprocess.run(command, check=True, capture_output=True)
    assert json.loads((tmp_path / "two/model.timing.json").read_text())["processes"] == 2
    a, b = (open_model(tmp_path / n / "model.safetensors").weights("raw") for n in ("one", "two"))
    assert max(float((a[key] - b[key]).abs().max()) for key in a) < 1e-6


def test_a_training_that_would_take_too_long_is_refused_after_its_first_steps(
    data: Path, encoder: Path, tmp_path: Path
) -> None:
    recipe = denoiser_recipe("none")
    assert recipe.training.steps > loop.PACE["cpu"][1]
    with pytest.raises(UserError, match=r"denoiser: the training would take about .* hours.*allow_slow"):
        train(data, tmp_path / "slow", "denoiser", recipe, slow_hours=1e-9)
    assert not (tmp_path / "slow/model.safetensors").exists()
    train(data, tmp_path / "fast", "denoiser", recipe, slow_hours=1000.0)


@pytest.mark.slow  # compiling takes half a minute
@pytest.mark.parametrize("kind", ["encoder", "denoiser"])
def test_a_compiled_training_is_the_same_up_to_rounding(
    data: Path, encoder: Path, tmp_path: Path, kind: str
) -> None:
    recipe = encoder_recipe() if kind == "encoder" else denoiser_recipe()
    train(data, tmp_path / "plain", kind, recipe)
    train(data, tmp_path / "compiled", kind, recipe, compile="true")
    files = [open_model(tmp_path / n / "model.safetensors") for n in ("plain", "compiled")]
    assert [file.info["compiled"] for file in files] == [False, True]
    a, b = (file.weights("raw") for file in files)
    assert a.keys() == b.keys()
    assert max(float((a[key] - b[key]).abs().max()) for key in a) < 1e-4


def test_a_network_that_cannot_be_compiled_is_one_line(
    data: Path, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", str(tmp_path / "no-such-compiler"))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))  # nothing compiled before
    out = subprocess.run(
        train_command(data, tmp_path, "denoiser", denoiser_recipe(), "--compile", "true"),
        capture_output=True,
        text=True,
    )
    assert out.returncode == 1
    (line,) = out.stderr.strip().splitlines()
    assert line.startswith("samdiffsr: error: my-denoiser: torch.compile failed (")
    assert line.endswith("set compile: false")
    assert not (tmp_path / "model.safetensors").exists()


@pytest.mark.parametrize(("kind", "recipe"), [("encoder", encoder_recipe), ("denoiser", denoiser_recipe)])
def test_where_only_the_network_cannot_be_compiled_auto_takes_the_plain_step(
    kind: str, recipe: Callable[[], Any], data: Path, encoder: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, said: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    train(data, tmp_path / "plain", kind, recipe())

    def refuse(*arguments: Any, **named: Any) -> None:
        raise RuntimeError("no triton here\nand more lines")

    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda self, **named: setattr(self, "_compiled_call_impl", refuse)
    )
    monkeypatch.setattr(torch, "compile", lambda function, **named: function)  # the probe finds nothing wrong
    monkeypatch.setattr("samdiffsr.training.step.worth_compiling", lambda device, steps: True)
    said.clear()
    train(data, tmp_path / "auto", kind, recipe(), compile="auto")
    assert sum("trains without torch.compile (no triton here)" in line for line in said.messages) == 1
    plain, auto = (open_model(tmp_path / name / "model.safetensors") for name in ("plain", "auto"))
    assert auto.info["compiled"] is False
    assert all(torch.equal(plain.weights("raw")[k], v) for k, v in auto.weights("raw").items())
