"""One optimisation step: loss, gradient, clipping, Adam, and the running mean of the weights."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from samdiffsr.core.compat import uncompile
from samdiffsr.core.errors import UserError
from samdiffsr.core.randomness import prepare_compiler
from samdiffsr.models.captured import Captured
from samdiffsr.training.batches import Cut
from samdiffsr.training.job import averaging_decay, learning_rate, worth_compiling
from samdiffsr.training.recipe import DenoiserRecipe, EncoderRecipe

if TYPE_CHECKING:
    from lightning_fabric import Fabric

log = logging.getLogger(__name__)

Batch = dict[str, Tensor]


@dataclass
class Task:
    """What is trained, and on what.

    Args:
        name: what messages call this training.
        recipe: kept with the model.
        digests: hashes of the inputs (stores, encoder), kept with the model.
        net: the network, with its first weights.
        cut: the arrays of some samples, a pure function of their indices.
        loss: (module, batch on the device) -> mean loss over the samples; a function of tensors alone.
        draw: (sample indices, device) -> what is random in the loss, each a pure function of its index.
        module: what the loss calls, if not `net` itself: a module around it, with no weights of its own.
        prepare: (device, type of the maps, whether to compile) -> brings what else the loss uses there.
        facts: further JSON to keep with the model.
    """

    name: str
    recipe: EncoderRecipe | DenoiserRecipe
    digests: dict[str, str | None]
    net: nn.Module
    cut: Cut
    loss: Callable[[nn.Module, Batch], Tensor]
    draw: Callable[[range, torch.device], Batch] = lambda samples, device: {}
    module: nn.Module | None = None
    prepare: Callable[[torch.device, torch.dtype, bool], None] = lambda device, dtype, compiled: None
    facts: dict[str, Any] = field(default_factory=dict)


class Step:
    """The network of a task, its optimizer and its running mean, and what moves them on by one step.

    On a GPU all of it is one recorded graph (`Captured`), with learning rate and decay as tensors that it
    reads; with several processes it is not, since the sum of their gradients is no part of a recording.

    Args:
        as_graph: whether the step is a function of tensors alone; None: in the only process of a GPU.
    """

    def __init__(
        self,
        task: Task,
        fabric: Fabric,
        precision: str,
        compiled: bool,
        as_graph: bool | None = None,
    ) -> None:
        self.task, self.fabric, self.training = task, fabric, task.recipe.training
        self.precision, self.compiled = precision, compiled
        device = fabric.device
        alone = fabric.world_size == 1
        self.as_graph = device.type == "cuda" and alone if as_graph is None else as_graph
        self.capturable = self.as_graph and device.type == "cuda"
        task.prepare(device, torch.bfloat16 if precision == "bf16" else torch.float32, compiled)
        self.net = task.net.to(memory_format=torch.channels_last)  # 1.2 times faster on the CPU too
        self.mean = {k: v.detach().to(device, copy=True) for k, v in self.net.state_dict().items()}
        self.lr, self.share = torch.zeros((), device=device), torch.zeros((), device=device)
        optimizer = torch.optim.Adam(
            self.net.parameters(),
            lr=self.lr if self.as_graph else self.training.lr,
            betas=(0.9, 0.999),
            fused=True,
            capturable=self.capturable,
        )
        self.called = self.net if task.module is None else task.module
        if compiled:
            self.called.compile(fullgraph=True, dynamic=False)
        # Torch says once that an optimizer for recordings is slower without one: as it is before the first.
        warnings.filterwarnings("ignore", "This instance was constructed with capturable=True", UserWarning)
        self.model, self.optimizer = fabric.setup(self.called, optimizer)
        self.net.train()
        self.names: tuple[str, ...] = ()  # of the batch's tensors
        self.move = Captured(
            lambda *tensors: self._move(dict(zip(self.names, tensors, strict=True)), self.lr, self.share),
            task.name,
            wanted=None if alone else False,
        )

    def __call__(self, step: int, arrays: Batch, samples: range) -> Tensor:
        """The step after `step` steps, on one batch; the loss, float32, on the device."""
        batch = arrays | self.task.draw(samples, self.fabric.device)
        lr, share = learning_rate(step, self.training), 1 - averaging_decay(step, self.training)
        if not self.as_graph:
            return self._move(batch, lr, share)
        self.lr.fill_(lr)
        self.share.fill_(share)
        self.names = tuple(batch)
        return self.move(*batch.values())

    def tried(self, arrays: Batch, samples: range) -> None:
        """Loss and gradient of one batch, thrown away, so that all is compiled; raises what torch raises."""
        self._gradient(arrays | self.task.draw(samples, self.fabric.device))
        self.optimizer.zero_grad(set_to_none=True)

    def uncompiled(self) -> Step:
        """The same network, which has made no step yet, without torch.compile."""
        uncompile(self.called)
        return Step(self.task, self.fabric, self.precision, compiled=False, as_graph=self.as_graph)

    def _gradient(self, batch: Batch) -> Tensor:
        """Add a batch's gradient to that of the weights; the loss."""
        with self.fabric.autocast():
            loss = self.task.loss(self.model, batch)
        self.fabric.backward(loss)
        return loss

    def _move(self, batch: Batch, lr: float | Tensor, share: float | Tensor) -> Tensor:
        """One step at this learning rate; the mean takes `share` of the new weights."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad(set_to_none=True)
        with _compiling(self.task.name, self.compiled):
            loss = self._gradient(batch)
        if self.training.clip_grad:
            torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.training.clip_grad)
        self.optimizer.step()
        weights = self.net.state_dict()  # shares memory with the parameters
        mean, now = list(self.mean.values()), [weights[k] for k in self.mean]
        if isinstance(share, Tensor):
            apart = torch._foreach_sub(now, mean)
            torch._foreach_mul_(apart, share)
            torch._foreach_add_(mean, apart)
        else:
            torch._foreach_lerp_(mean, now, share)
        return loss.detach().float()

    def finite(self) -> bool:
        """Whether all weights are numbers."""
        return bool(torch.stack([weight.isfinite().all() for weight in self.net.state_dict().values()]).all())

    def state(self) -> dict[str, Any]:
        """What the next step depends on."""
        return {"net": self.net.state_dict(), "ema": self.mean, "optimizer": self.optimizer.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        """Go back to a `state`."""
        self.net.load_state_dict(state["net"])
        for key, value in state["ema"].items():
            self.mean[key].copy_(value)
        self.optimizer.load_state_dict(state["optimizer"])
        for group in self.optimizer.param_groups:  # the state may come from another kind of device
            group["capturable"] = self.capturable


def compiles(wanted: str, device: torch.device, steps: int, name: str) -> bool:
    """Whether a training is compiled: as told, or for `auto` where it pays and this machine can."""
    if wanted == "false" or (wanted == "auto" and not worth_compiling(device.type, steps)):
        return False
    prepare_compiler()
    if wanted == "true":
        return True
    try:
        torch.compile(lambda x: 2 * x + 1)(torch.ones(4, device=device))
    except Exception as error:  # whatever its compilers raise
        log.warning(f"{name}: trains without torch.compile ({str(error).strip().splitlines()[0]})")
        return False
    return True


@contextmanager
def _compiling(name: str, compiled: bool) -> Iterator[None]:
    """Say in one line that the network, or its gradient, could not be compiled."""
    try:
        yield
    except Exception as error:
        if compiled and type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            why = str(error).strip().splitlines()[0]
            raise UserError(
                f"{name}: torch.compile failed ({why}); it needs a C++ compiler such as g++, on a GPU triton "
                "too; set compile: false"
            ) from error
        raise
