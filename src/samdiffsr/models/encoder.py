"""The encoder of a recipe or of a model file: built with fresh weights, or loaded, frozen."""

from __future__ import annotations

from pathlib import Path

from samdiffsr.models.model_file import ModelFile, open_model
from samdiffsr.models.recipe import EncoderNetwork
from samdiffsr.models.rrdb import RRDBEncoder


def build_encoder(network: EncoderNetwork) -> RRDBEncoder:
    """The network with fresh weights."""
    return RRDBEncoder(network.blocks, network.features, network.growth, network.scale)


def load_encoder(path: str | Path, weights: str = "ema") -> tuple[RRDBEncoder, ModelFile]:
    """A trained encoder, frozen, in evaluation mode."""
    file = open_model(path, "encoder")
    encoder = build_encoder(file.network(EncoderNetwork))
    encoder.load_state_dict(file.weights(weights))
    return encoder.eval().requires_grad_(False), file
