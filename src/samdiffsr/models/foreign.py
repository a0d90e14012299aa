"""Checkpoints of the authors' SAM-DiffSR code, of SRDiff and of ESRGAN, brought to this package's names.

Strict in both directions: every tensor of the file's network must have its place and its shape here, and the
other way round. Files are read with `weights_only=True`, so they cannot run code.

Accepted layouts, each with or without the `module.` that data-parallel training leaves:
    {name: tensor}; {"state_dict": {name: tensor}}; {"state_dict": {"model": {name: tensor}}} (the authors');
    {"state_dict": {"model.name": tensor}}.
The names may be those of one network, or of the authors' whole diffusion model: `denoise_fn.`, `rrdb.`, and
the tables of its schedule.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from samdiffsr.core.errors import UserError
from samdiffsr.models.rrdb import RRDBEncoder
from samdiffsr.models.unet import DenoisingUNet

State = dict[str, Tensor]

UNET_PREFIX, RRDB_PREFIX = "denoise_fn.", "rrdb."
SHOWN = 3  # names of each kind in an error

# What else the authors' diffusion model keeps: the tables of its schedule.
BUFFERS = {
    "betas",
    "alphas_cumprod",
    "alphas_cumprod_prev",
    "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod",
    "log_one_minus_alphas_cumprod",
    "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod",
    "posterior_variance",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
}


def load_foreign_rrdb(path: str | Path, encoder: RRDBEncoder | None = None) -> State:
    """Read an encoder with ESRGAN's key names, alone or inside a diffusion checkpoint.

    Args:
        path: the checkpoint.
        encoder: what the checkpoint must fit; if None, any size that `RRDBEncoder` can have
            (`rrdb_arguments` tells which it is).

    Returns:
        A state dict for `RRDBEncoder.load_state_dict`, float32, on the CPU. The authors' encoder has the
        layers of x4 at x2 too; its features serve any scale.

    Raises:
        UserError: the file cannot be read, or its keys or shapes do not fit; the message names the first few.
    """
    state = _part(_read(path), RRDB_PREFIX, other=UNET_PREFIX)
    return _convert(path, "RRDB encoder", state, encoder, _rrdb_name, _build_rrdb)


def load_foreign_unet(path: str | Path, unet: DenoisingUNet | None = None) -> State:
    """Read the denoiser of a SAM-DiffSR, SAM+SRDiff or SRDiff checkpoint.

    Args:
        path: the checkpoint.
        unet: what the checkpoint must fit; if None, any size that `DenoisingUNet` can have
            (`unet_arguments` tells which it is).

    Returns:
        A state dict for `DenoisingUNet.load_state_dict`, float32, on the CPU.

    Raises:
        UserError: the file cannot be read, or its keys or shapes do not fit; the message names the first few.
    """
    state = _part(_read(path), UNET_PREFIX, other=RRDB_PREFIX)
    return _convert(path, "denoising U-Net", state, unet, _unet_name, _build_unet)


def load_foreign_betas(path: str | Path) -> Tensor:
    """beta_t of a whole diffusion checkpoint, (T,) float32: the schedule that its networks were trained with.

    Raises:
        UserError: the file cannot be read or holds no schedule.
    """
    betas = _read(path).get("betas")
    if not isinstance(betas, Tensor) or betas.ndim != 1:
        raise UserError(f"{path}: holds no noise schedule (betas); give a whole diffusion checkpoint")
    return betas.float()


def rrdb_arguments(state: State) -> dict[str, Any]:
    """The arguments of the `RRDBEncoder` that a state dict with this package's names belongs to."""
    return _rrdb_arguments({_rrdb_name(key): value for key, value in state.items()})


def unet_arguments(state: State) -> dict[str, Any]:
    """The arguments of the `DenoisingUNet` that a state dict with this package's names belongs to."""
    return _unet_arguments({_unet_name(key): value for key, value in state.items()})


# ---- names: ours -> theirs ----

_BLOCK_LAYERS = {
    "conv1": "block1.block.1",
    "time": "mlp.1",
    "conv2": "block2.block.1",
    "shortcut": "res_conv",
}
_RRDB_LAYERS = {
    "conv_in": "conv_first",
    "conv_trunk": "trunk_conv",
    "conv_hr": "HRconv",
    "conv_out": "conv_last",
}


def _rrdb_name(key: str) -> str:
    match key.split("."):
        case ["trunk", n, "dense", d, "convs", c, leaf]:
            return f"RRDB_trunk.{n}.RDB{int(d) + 1}.conv{int(c) + 1}.{leaf}"
        case ["upsample", n, leaf]:
            return f"upconv{int(n) + 1}.{leaf}"
        case [layer, leaf] if layer in _RRDB_LAYERS:
            return f"{_RRDB_LAYERS[layer]}.{leaf}"
    raise KeyError(key)


def _unet_name(key: str) -> str:
    match key.split("."):
        case ["cond_proj", leaf]:
            return f"cond_proj.{leaf}"
        case ["mask_proj", i, leaf]:
            return f"sam_conv.{i}.{leaf}"
        case ["time_mlp", i, leaf]:
            return f"mlp.{i}.{leaf}"
        case ["downs", n, "resize", leaf]:  # there in a Sequential after its padding
            return f"downs.{n}.2.conv.1.{leaf}"
        case ["ups", n, "resize", leaf]:
            return f"ups.{n}.2.conv.0.{leaf}"
        case ["downs" | "ups" as side, n, "block1" | "block2" as block, layer, leaf]:
            return f"{side}.{n}.{int(block[-1]) - 1}.{_BLOCK_LAYERS[layer]}.{leaf}"
        case ["mid", i, layer, leaf]:
            return f"mid_block{int(i) + 1}.{_BLOCK_LAYERS[layer]}.{leaf}"
        case ["conv_last", leaf]:
            return f"final_conv.0.block.1.{leaf}"
        case ["conv_out", leaf]:
            return f"final_conv.1.{leaf}"
    raise KeyError(key)


# ---- sizes, from the shapes of a few tensors ----


def _rrdb_arguments(state: State) -> dict[str, Any]:
    return {
        "blocks": _count(state, "RRDB_trunk."),
        "features": state["conv_first.weight"].shape[0],
        "growth": state["RRDB_trunk.0.RDB1.conv1.weight"].shape[0],
        "scale": 2 ** sum(f"upconv{i}.weight" in state for i in (1, 2, 3)),
    }


def _unet_arguments(state: State) -> dict[str, Any]:
    dim = state["final_conv.1.weight"].shape[1]
    widths = [state[f"downs.{i}.1.mlp.1.weight"].shape[0] for i in range(_count(state, "downs."))]
    mask = state.get("sam_conv.0.weight")
    return {
        "dim": dim,
        "mults": tuple(width // dim for width in widths),
        "cond_channels": state["cond_proj.weight"].shape[0],
        "scale": state["cond_proj.weight"].shape[2] // 2,
        "mask_channels": 0 if mask is None else mask.shape[1] - dim,
    }


def _count(state: State, prefix: str) -> int:
    return len({key.removeprefix(prefix).split(".")[0] for key in state if key.startswith(prefix)})


def _build_rrdb(state: State) -> nn.Module:
    return RRDBEncoder(**_rrdb_arguments(state))


def _build_unet(state: State) -> nn.Module:
    return DenoisingUNet(**_unet_arguments(state))


# ---- reading and comparing ----


def _read(path: str | Path) -> dict[str, Any]:
    """The flat dict of names in a checkpoint, whatever its layout."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no such checkpoint") from None
    except pickle.UnpicklingError as error:
        if "numpy" in (said := str(error)) and "scalar" in said:
            raise UserError(
                f"{path}: holds a numpy scalar beside its tensors, and only code in the file can make one. "
                "If you trust it: state = torch.load(FILE, weights_only=False), keep the tensors alone, and "
                "torch.save them into a new file"
            ) from None
        raise UserError(
            f"{path}: not a plain checkpoint of tensors (damaged, or it would run code when loaded); "
            "get it again from its source"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path}: cannot be read as a checkpoint ({reason}); get it again") from None
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not content or not all(isinstance(key, str) for key in content):
        raise UserError(f"{path}: holds no state dict; give a file of named tensors")
    for wrapper in ("module.", "model."):
        if all(key.startswith(wrapper) for key in content):
            content = {key.removeprefix(wrapper): value for key, value in content.items()}
    return content


def _part(state: dict[str, Any], prefix: str, other: str) -> dict[str, Any]:
    """One network of a whole diffusion checkpoint; a checkpoint of one network is that network."""
    if not any(key.startswith((prefix, other)) for key in state):
        return state
    return {
        key.removeprefix(prefix): value
        for key, value in state.items()
        if not key.startswith(other) and key not in BUFFERS
    }


def _convert(
    path: str | Path,
    what: str,
    state: dict[str, Any],
    network: nn.Module | None,
    name: Callable[[str], str],
    build: Callable[[State], nn.Module],
) -> State:
    """`state` under the names of `network`, or of the network that `build` makes to its measure."""
    if network is None:
        try:
            network = build(state)  # for its names and shapes
        except (KeyError, AttributeError, IndexError, ZeroDivisionError, UserError) as error:
            first = ", ".join(list(state)[:SHOWN]) or "nothing"
            raise UserError(f"{path}: holds no {what} ({error}); its tensors begin with {first}") from None
    ours = {name(key): (key, value.shape) for key, value in network.state_dict().items()}
    wrong = [
        f"{key} is {_shape(state[key])}, expected {tuple(shape)}"
        for key, (_, shape) in ours.items()
        if key in state and _shape(state[key]) != tuple(shape)
    ]
    problems = {
        "missing": [key for key in ours if key not in state],
        "unexpected": [key for key in state if key not in ours],
        "of another shape": wrong,
    }
    if any(problems.values()):
        report = "; ".join(f"{len(keys)} {kind}: {_few(keys)}" for kind, keys in problems.items() if keys)
        raise UserError(f"{path}: does not fit the {what} ({report}); choose sizes and checkpoint that agree")
    return {key: state[theirs].float() for theirs, (key, _) in ours.items()}


def _shape(value: Any) -> tuple[int, ...] | str:
    return tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__


def _few(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
