"""Random numbers as a function of a key and a counter: Philox 4x32-10 (Salmon et al., SC 2011), in torch.

A sample's numbers are those of its own counter. Whatever else is drawn with it, in one call for a whole batch
on a GPU or alone on another machine, they are the same integers; normal numbers are the same but for the last
bits of the device's logarithm, sine and cosine.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)  # what is added to the key in every round
ROUNDS = 10
WORD = 0xFFFFFFFF

Words = tuple[Tensor, Tensor, Tensor, Tensor]


def philox(counter: Words, key: tuple[int, int]) -> Words:
    """Four random words of 32 bits for each counter; all are int64 tensors that hold 0 .. 2^32 - 1."""
    a, b, c, d = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        # int64 wraps at 64 bits, and so do the products: their halves are right
        first, second = a * MULTIPLIERS[0], c * MULTIPLIERS[1]
        a, b, c, d = (
            (second >> 32 & WORD) ^ b ^ k0,
            second & WORD,
            (first >> 32 & WORD) ^ d ^ k1,
            first & WORD,
        )
        k0, k1 = (k0 + WEYL[0]) & WORD, (k1 + WEYL[1]) & WORD
    return a, b, c, d


def words(seed: int, stream: int, samples: Tensor, blocks: int) -> Words:
    """Four times `blocks` words for each sample, (B, blocks) each.

    Args:
        seed: 64 bits of it count. stream: what the numbers are for, 0 .. 2^32 - 1.
        samples: (B,) int64, not negative.
    """
    block = torch.arange(blocks, device=samples.device)[None, :]
    here = samples[:, None]
    zero = torch.zeros_like(block + here)
    counter = (zero + block, zero + stream, zero + (here & WORD), zero + (here >> 32))
    return philox(counter, (seed & WORD, seed >> 32 & WORD))


def integers(seed: int, stream: int, samples: Tensor, below: int) -> Tensor:
    """An integer in 0 .. below - 1 for each sample, (B,) int64; `below` up to 2^31."""
    return words(seed, stream, samples, 1)[0][:, 0] * below >> 32


def normals(seed: int, stream: int, samples: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Standard normal numbers, (B, *shape) float32 (Box and Muller's method)."""
    count = math.prod(shape)
    a, b, c, d = words(seed, stream, samples, -(-count // 4))
    drawn = []
    for first, second in ((a, b), (c, d)):
        radius = (-2 * _between_0_and_1(first).log()).sqrt()
        angle = 2 * math.pi * _between_0_and_1(second)
        drawn += [radius * angle.cos(), radius * angle.sin()]
    flat = torch.stack(drawn, dim=2).flatten(1)[:, :count]
    return flat.reshape(len(flat), *shape)


def _between_0_and_1(word: Tensor) -> Tensor:
    """(word + 1/2) / 2^32 in float32, which may round to 1 and never to 0."""
    return (word.to(torch.float32) + 0.5) * 2.0**-32
