"""Masks from MobileSAM (Zhang et al., 2023): SAM with TinyViT (Wu et al., 2022) as its image encoder.

The network is put together from timm's TinyViT and segment-anything's prompt encoder and mask decoder; the
official weight file fits after renaming its keys. Against timm's tiny_vit_5m, the last stage does not halve
the resolution, so that a 1024 x 1024 image gives the 64 x 64 features that SAM's decoder expects, and SAM's
neck brings its 320 channels to 256.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from segment_anything.modeling import MaskDecoder, PromptEncoder, TwoWayTransformer
from segment_anything.modeling import Sam as SamModel
from segment_anything.modeling.common import LayerNorm2d

# The class, not timm.create_model: other packages register networks of their own under timm's name.
from timm.models.tiny_vit import TinyVit
from torch import Tensor, nn

from samdiffsr.masks.segmenters.sam import GridPrompted, load_strictly, variant, wrong_network

IMAGE_SIZE = 1024
CHANNELS = 256  # of SAM's image features
PIXEL_MEAN, PIXEL_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # of ImageNet, RGB, 0..255


class MobileSam(GridPrompted):
    """MobileSAM under the automatic mask generator."""

    def build(self, state: Mapping[str, Tensor], path: Path) -> nn.Module:
        found, wanted = variant(state), self.settings.network
        if found != wanted:
            raise wrong_network(path, wanted, found)
        model = mobile_sam()
        load_strictly(model, rename(state), path, wanted)
        return model


class TinyViTEncoder(nn.Module):
    """MobileSAM's image encoder: (B, 3, 1024, 1024) normalised RGB -> (B, 256, 64, 64) features."""

    img_size = IMAGE_SIZE  # the predictor asks for it

    def __init__(self) -> None:
        super().__init__()
        # with the classifier, which nothing uses, because the file holds it: every key has its place
        self.trunk = TinyVit(
            embed_dims=(64, 128, 160, 320),
            depths=(2, 2, 6, 2),
            num_heads=(2, 4, 5, 10),
            window_sizes=(7, 7, 14, 7),
            num_classes=1000,
            drop_path_rate=0.0,
        )
        self.trunk.stages[3].downsample.conv2.conv.stride = (1, 1)
        self.neck = nn.Sequential(
            nn.Conv2d(320, CHANNELS, kernel_size=1, bias=False),
            LayerNorm2d(CHANNELS),
            nn.Conv2d(CHANNELS, CHANNELS, kernel_size=3, padding=1, bias=False),
            LayerNorm2d(CHANNELS),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.neck(self.trunk.forward_features(x))


def mobile_sam() -> SamModel:
    """The network with random weights."""
    features = IMAGE_SIZE // 16
    return SamModel(
        image_encoder=TinyViTEncoder(),
        prompt_encoder=PromptEncoder(
            embed_dim=CHANNELS,
            image_embedding_size=(features, features),
            input_image_size=(IMAGE_SIZE, IMAGE_SIZE),
            mask_in_chans=16,
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(depth=2, embedding_dim=CHANNELS, mlp_dim=2048, num_heads=8),
            transformer_dim=CHANNELS,
            iou_head_depth=3,
            iou_head_hidden_dim=256,
        ),
        pixel_mean=list(PIXEL_MEAN),
        pixel_std=list(PIXEL_STD),
    )


def rename(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The official file's keys -> this network's. One to one; no tensor changes."""
    return {_renamed(key): value for key, value in state.items()}


def _renamed(key: str) -> str:
    room, _, rest = key.partition(".")
    if room != "image_encoder" or rest.startswith("neck."):
        return key
    rest = re.sub(r"^patch_embed\.seq\.([02])\.", lambda m: f"patch_embed.conv{1 + int(m[1]) // 2}.", rest)
    # the file has a stage's downsampling at its end, timm at the next one's beginning
    rest = re.sub(r"^layers\.(\d)\.downsample\.", lambda m: f"stages.{int(m[1]) + 1}.downsample.", rest)
    rest = re.sub(r"^layers\.", "stages.", rest)
    rest = re.sub(r"^head\.", "head.fc.", rest)
    rest = re.sub(r"^norm_head\.", "head.norm.", rest)
    return f"{room}.trunk.{re.sub(r'[.]c[.]weight$', '.conv.weight', rest)}"
