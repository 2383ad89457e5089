"""CUDA's noise on the CPU: the published answers of the cipher, and of its use."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from tintype.diffusion.noise import start_noise
from tintype.diffusion.philox import philox, philox_normal

# Random123's kat_vectors for philox4x32-10: counter, key -> result
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_the_cipher_gives_the_published_words(counter, key, expected):
    words = philox(np.array(counter, dtype=np.uint32)[:, None], key[0] | key[1] << 32)
    assert tuple(words[:, 0].tolist()) == expected


def test_seed_0_begins_as_the_web_ui_documents_it():
    expected = [
        [-0.92466259, -0.42534415, -2.6438457, 0.14518388],
        [-0.12086647, -0.57972564, -0.62285122, -0.32838709],
        [-1.07454231, -0.36314407, -1.67105067, 2.26550497],
    ]
    # Its text shows numbers of an earlier rounding: its code, run today, is as far from them.
    assert np.allclose(philox_normal(0, (3, 4)).numpy(), expected, rtol=0, atol=3e-7)


def test_it_is_normal_and_calls_and_seeds_differ():
    noise = philox_normal(2**64 - 1, (4, 64, 64))
    assert noise.dtype == torch.float32 and noise.shape == (4, 64, 64)
    assert stats.kstest(noise.flatten().numpy(), "norm").pvalue > 0.01
    for other in (philox_normal(2**64 - 1, (4, 64, 64), call=1), philox_normal(2**63 - 1, (4, 64, 64))):
        assert abs(np.corrcoef(noise.flatten(), other.flatten())[0, 1]) < 0.03


def test_a_run_may_start_from_it_each_picture_from_its_own_seed():
    noise = start_noise((7, 8), (4, 8, 8), "philox")
    assert torch.equal(noise[1], philox_normal(8, (4, 8, 8)))
    assert torch.equal(noise[0], philox_normal(7, (4, 8, 8)))
    assert not torch.equal(noise, start_noise((7, 8), (4, 8, 8)))
