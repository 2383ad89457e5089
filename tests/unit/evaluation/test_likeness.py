import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from scipy.ndimage import gaussian_filter

from tintype.evaluation.likeness import frechet, frechet_of, frechet_with_interval, frechet_without_bias, ssim


def ssim_by_scipy(a: np.ndarray, b: np.ndarray) -> float:
    """Of two planes in [-1, 1]."""

    def blur(x):
        return gaussian_filter(x, 1.5, radius=5)[5:-5, 5:-5]

    c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2
    ma, mb = blur(a), blur(b)
    va, vb, vab = blur(a * a) - ma**2, blur(b * b) - mb**2, blur(a * b) - ma * mb
    return (((2 * ma * mb + c1) * (2 * vab + c2)) / ((ma**2 + mb**2 + c1) * (va + vb + c2))).mean()


def test_ssim_is_scipys_arithmetic():
    rng = np.random.default_rng(0)
    a = rng.uniform(-1, 1, size=(2, 3, 20, 24))
    b = np.clip(a + rng.normal(0, 0.3, size=a.shape), -1, 1)
    expected = [np.mean([ssim_by_scipy(a[n, c], b[n, c]) for c in range(3)]) for n in range(2)]
    assert ssim(torch.from_numpy(a), torch.from_numpy(b)).tolist() == pytest.approx(expected, abs=1e-9)


def test_ssim_of_equal_pictures_is_one():
    x = torch.rand(1, 3, 16, 16) * 2 - 1
    assert ssim(x, x).item() == pytest.approx(1)


def test_frechet_of_known_gaussians():
    """Where covariances commute: |mu|^2 + |sqrt A - sqrt B|^2."""
    a, b = np.diag([1.0, 4.0]), np.diag([9.0, 4.0])
    assert frechet_of(np.zeros(2), a, np.array([3.0, 4.0]), b) == pytest.approx(25 + 4)


def test_frechet_is_the_published_formula():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(200, 6)) @ rng.normal(size=(6, 6)), rng.normal(size=(150, 6)) + 0.5
    ca, cb = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(ca + cb - 2 * sqrtm(ca @ cb).real)
    assert frechet(a, b) == pytest.approx(expected)
    assert frechet(a, a) == pytest.approx(0, abs=1e-6)


def test_the_bias_of_few_pictures_is_taken_off():
    """Two samples of one Gaussian: the distance is 0, what is measured is all bias."""
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(20_000, 16))
    biased, unbiased = [], []
    for _ in range(5):
        sample = rng.normal(size=(200, 16))
        biased.append(frechet(sample, reference))
        unbiased.append(frechet_without_bias(sample, reference))
    assert np.mean(biased) > 0.2
    assert abs(np.mean(unbiased)) < np.mean(biased) / 4


def test_another_sample_lies_about_where_the_interval_says():
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(5_000, 4))
    inside = 0
    for _ in range(40):
        value, (low, high) = frechet_with_interval(rng.normal(1, 1, size=(100, 4)), reference)
        other = frechet(rng.normal(1, 1, size=(100, 4)), reference)
        inside += low - (high - value) * 0.41 < other < high + (high - value) * 0.41  # sqrt 2: both samples vary
    assert inside >= 34
