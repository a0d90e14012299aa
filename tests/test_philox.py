"""The counter-based generator against its published numbers, and what it promises to a sample."""

from __future__ import annotations

import math

import pytest
import torch

from samdiffsr.core.philox import integers, normals, philox


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_gives_the_authors_numbers(
    counter: tuple[int, ...], key: tuple[int, int], expected: tuple[int, ...]
) -> None:
    """Known answers of philox4x32 with 10 rounds, from Random123 (Salmon et al. 2011)."""
    a, b, c, d = (torch.tensor([word]) for word in counter)
    assert tuple(int(word) for word in philox((a, b, c, d), key)) == expected


@pytest.mark.parametrize("batch", [[7], [7, 8], [3, 7, 2**40, 0], [8, 7, 6, 5, 4]])
def test_a_samples_numbers_depend_on_no_neighbour(batch: list[int]) -> None:
    place = batch.index(7)
    alone = normals(5, 1, torch.tensor([7]), (3, 5, 7))[0]
    assert torch.equal(normals(5, 1, torch.tensor(batch), (3, 5, 7))[place], alone)
    t = integers(5, 0, torch.tensor(batch), 100)
    assert t[place] == integers(5, 0, torch.tensor([7]), 100)[0]


def test_samples_seeds_and_streams_share_no_numbers() -> None:
    samples = torch.tensor([0, 1, 2**32, 2**32 + 1])
    drawn = [normals(seed, stream, samples, (8,)) for seed in (0, 1, 2**32) for stream in (0, 1)]
    rows = {tuple(row.tolist()) for numbers in drawn for row in numbers}
    assert len(rows) == 4 * len(drawn)


def test_the_numbers_are_uniform_and_normal() -> None:
    t = integers(0, 0, torch.arange(100_000), 100)
    assert int(t.min()) == 0
    assert int(t.max()) == 99
    counts = torch.bincount(t, minlength=100).double()
    assert float(((counts - 1000) ** 2 / 1000).sum()) < 160  # chi^2 of 99 degrees: 1 in 10 000 is beyond
    z = normals(0, 1, torch.arange(16), (3, 160, 160)).double().flatten()
    n = len(z)
    assert torch.isfinite(z).all()
    assert abs(float(z.mean())) < 4 / math.sqrt(n)
    assert abs(float(z.var()) - 1) < 4 * math.sqrt(2 / n)
    assert abs(float((z**4).mean()) - 3) < 4 * math.sqrt(96 / n)
    inside = float((z.abs() < 1.959964).double().mean())
    assert abs(inside - 0.95) < 4 * math.sqrt(0.95 * 0.05 / n)
    assert abs(float((z[::2] * z[1::2]).mean())) < 4 / math.sqrt(n / 2)  # the two of a pair
