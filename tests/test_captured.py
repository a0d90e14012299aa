"""Recorded calls, with a recorder that needs no GPU: it keeps the inputs' places and runs the function."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from samdiffsr.models import captured
from samdiffsr.models.captured import WARM_UP, Captured, Graph
from samdiffsr.models.model_file import open_model
from samdiffsr.sampling import restorers
from samdiffsr.sampling.restorers import DenoiserRestorer
from samdiffsr.training import trainer
from samdiffsr.training.denoiser import NoiseLoss
from samdiffsr.training.step import Step, compiles
from tests.test_restore import RECIPE, _lr, _models
from tests.training import denoiser_recipe, encoder_recipe, same, train

MAPS = {"float32": torch.float32, "bf16": torch.bfloat16}


class Recorder:
    """Stands for the GPU's part of a recording: nothing is computed before `replay`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, size: int = 10) -> None:
        self.recorded: list[tuple[int, ...]] = []
        self.replayed = 0
        self.size = size
        monkeypatch.setattr(captured, "records_on", lambda device: True)
        monkeypatch.setattr(captured, "aside", lambda function, inputs: function(*inputs))
        monkeypatch.setattr(captured, "record", self.record)

    def record(self, function: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> Graph:
        kept = tuple(torch.full_like(x, 99) for x in inputs)
        self.recorded.append(tuple(inputs[0].shape))
        output = torch.empty(())

        def replay() -> None:
            self.replayed += 1
            found = function(*kept)
            output.resize_(found.shape).copy_(found)

        return Graph(kept, output, replay, self.size)


def test_on_the_cpu_it_is_the_function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captured, "record", None)
    double = Captured(lambda x: 2 * x, "double")
    for i in range(WARM_UP + 2):
        assert double(torch.tensor([i])).tolist() == [2 * i]


def test_a_shape_is_recorded_once_after_its_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(monkeypatch)
    add = Captured(lambda x, y: x + y, "add")
    found = [add(torch.full((2,), float(i)), torch.ones(2)) for i in range(WARM_UP + 3)]
    assert [x.tolist() for x in found] == [[i + 1.0] * 2 for i in range(WARM_UP + 3)]  # each the caller's own
    assert recorder.recorded == [(2,)]
    assert recorder.replayed == 3
    assert add(torch.zeros(5), torch.ones(5)).tolist() == [1.0] * 5  # another shape begins anew
    assert recorder.recorded == [(2,)]


def test_the_least_recently_used_graph_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(monkeypatch, size=10)
    double = Captured(lambda x: 2 * x, "double", memory=20)

    def call(n: int, times: int = 1) -> None:
        for _ in range(times):
            assert double(torch.ones(n)).tolist() == [2.0] * n

    for n in (1, 2):
        call(n, WARM_UP + 1)
    call(1)
    call(3, WARM_UP + 1)  # 2 was used longest ago
    assert [graph.inputs[0].numel() for graph in double.graphs.values()] == [1, 3]
    call(1)
    assert len(recorder.recorded) == 3
    call(2)
    assert len(recorder.recorded) == 4  # it needs no second warm-up
    big = Captured(lambda x: x, "big", memory=5)
    for _ in range(WARM_UP + 2):
        big(torch.ones(1))
    assert len(big.graphs) == 1  # one is kept in any case


def test_what_cannot_be_recorded_says_so_once_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, said: pytest.LogCaptureFixture
) -> None:
    Recorder(monkeypatch)

    def refuse(*arguments: Any) -> Graph:
        try:
            raise RuntimeError("operation not permitted when stream is capturing\nmore")
        finally:  # as torch does, when it leaves the recording
            raise RuntimeError("operation failed due to a previous error during capture")

    monkeypatch.setattr(captured, "record", refuse)
    double = Captured(lambda x: 2 * x, "my-run")
    for i in range(WARM_UP + 4):
        assert double(torch.tensor([i])).tolist() == [2 * i]
    assert said.messages == [
        "my-run: no CUDA graph (operation not permitted when stream is capturing); it runs step by step"
    ]


def _as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Learning rate and decay as tensors, t and noise by counter: the step that a GPU records."""
    prepare = NoiseLoss.prepare

    def prepared(loss: NoiseLoss, *arguments: Any) -> None:
        prepare(loss, *arguments)
        loss.by_counter = True

    monkeypatch.setattr(trainer, "Step", partial(Step, as_graph=True))
    monkeypatch.setattr(NoiseLoss, "prepare", prepared)


@pytest.mark.parametrize("kind", ["encoder", "denoiser"])
def test_a_recorded_training_is_the_unrecorded_one_and_resumes_bit_for_bit(
    data: Path, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    recipe = encoder_recipe(clip_grad=1.0) if kind == "encoder" else denoiser_recipe(clip_grad=1.0)
    train(data, tmp_path / "cpu", kind, recipe)
    _as_on_a_gpu(monkeypatch)
    train(data, tmp_path / "plain", kind, recipe)
    recorder = Recorder(monkeypatch)
    train(data, tmp_path / "recorded", kind, recipe)
    assert len(recorder.recorded) == 1
    assert recorder.replayed == recipe.training.steps - WARM_UP
    assert same(tmp_path / "plain", tmp_path / "recorded")

    class Killed(BaseException):
        pass

    def die(step: int) -> None:
        if step == 8:
            raise Killed

    with pytest.raises(Killed):
        train(data, tmp_path / "pieces", kind, recipe, on_step=die, save_every=6)
    train(data, tmp_path / "pieces", kind, recipe, save_every=6)
    assert same(tmp_path / "recorded", tmp_path / "pieces")
    if kind == "encoder":  # where nothing is drawn, the CPU's step is the same but for rounding
        a, b = (open_model(tmp_path / n / "model.safetensors").weights("ema") for n in ("cpu", "recorded"))
        assert max(float((a[key] - b[key]).abs().max()) for key in a) < 1e-6


def test_a_state_of_another_device_does_not_say_whether_adam_can_be_recorded(
    data: Path, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torch's optimizer takes that from the state, and then refuses to be recorded."""
    made: list[Step] = []

    class Kept(Step):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            made.append(self)

    monkeypatch.setattr(trainer, "Step", Kept)
    train(data, tmp_path, "encoder", encoder_recipe())
    (step,) = made
    state = step.state()
    for group in state["optimizer"]["param_groups"]:
        group["capturable"] = True
    step.load(state)
    assert [group["capturable"] for group in step.optimizer.param_groups] == [False]


def test_auto_compiles_long_trainings_on_a_gpu_and_says_where_it_cannot(
    said: pytest.LogCaptureFixture,
) -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert not compiles("auto", cpu, 400_000, "my-run")
    assert not compiles("auto", cuda, 1000, "my-run")
    assert compiles("true", cpu, 1, "my-run")
    assert not compiles("false", cuda, 400_000, "my-run")
    assert said.messages == []
    if not torch.cuda.is_available():
        assert not compiles("auto", cuda, 400_000, "my-run")
        assert said.messages[0].startswith("my-run: trains without torch.compile (")


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_recorded_sampling_draws_the_unrecorded_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    """Weights cast once, as on a GPU; images of two sizes in turns, each with its graph."""
    encoder, denoiser = _models(tmp_path)
    monkeypatch.setattr(restorers, "_maps", lambda device, precision: MAPS[precision])
    sizes = [(9, 14), (12, 10), (9, 14)]

    def images() -> list[np.ndarray]:
        restore = DenoiserRestorer(denoiser, encoder, RECIPE, torch.device("cpu"), precision)
        return [restore(_lr(*size, seed=i), f"image{i}") for i, size in enumerate(sizes)]

    plain = images()
    recorder = Recorder(monkeypatch)
    recorded = images()
    assert len(recorder.recorded) == 2
    assert recorder.replayed == 3 * 13 - 2 * WARM_UP
    assert all(np.array_equal(a, b) for a, b in zip(plain, recorded, strict=True))
