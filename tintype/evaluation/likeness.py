"""How alike pictures and crowds of pictures are: SSIM, and the Fréchet distance without its bias."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tintype.evaluation.intervals import Interval, jackknife

WINDOW, WINDOW_STD = 11, 1.5
C1, C2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2  # K1 = 0.01 and K2 = 0.03 of the range of pixels, 2
GROUPS = 10


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity of pictures in [-1, 1], (n c H W) -> (n,); 1 where they are equal.

    Wang et al. 2004, equation 13, with its Gaussian window (11 pixels, standard deviation 1.5), where the window lies
    within the picture; averaged over channels.
    """
    a, b = a.double(), b.double()
    mean_a, mean_b = _windowed(a), _windowed(b)
    variance_a, variance_b = _windowed(a * a) - mean_a**2, _windowed(b * b) - mean_b**2
    covariance = _windowed(a * b) - mean_a * mean_b
    top = (2 * mean_a * mean_b + C1) * (2 * covariance + C2)
    bottom = (mean_a**2 + mean_b**2 + C1) * (variance_a + variance_b + C2)
    return (top / bottom).flatten(1).mean(1)


def _windowed(x: Tensor) -> Tensor:
    """Local means under the window, (n c H W) -> (n c H-10 W-10)."""
    at = torch.arange(WINDOW, dtype=x.dtype, device=x.device) - WINDOW // 2
    weights = torch.exp(-(at**2) / (2 * WINDOW_STD**2))
    weights = weights / weights.sum()
    channels = x.shape[1]
    down = weights.reshape(1, 1, -1, 1).expand(channels, 1, -1, 1)
    across = weights.reshape(1, 1, 1, -1).expand(channels, 1, 1, -1)
    return F.conv2d(F.conv2d(x, down, groups=channels), across, groups=channels)


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """Fréchet distance between the Gaussians that fit two crowds of features, (n d) and (m d).

    |mu_a - mu_b|^2 + tr(A + B - 2 (A B)^1/2), Heusel et al. 2017 (arXiv 1706.08500), equation 6.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return frechet_of(a.mean(0), np.cov(a, rowvar=False), b.mean(0), np.cov(b, rowvar=False))


def frechet_of(mean_a: np.ndarray, cov_a: np.ndarray, mean_b: np.ndarray, cov_b: np.ndarray) -> float:
    """Of the Gaussians themselves."""
    root = _root(cov_a)
    # tr (A B)^1/2 = tr (A^1/2 B A^1/2)^1/2, which is symmetric
    cross = np.sqrt(np.clip(np.linalg.eigvalsh(root @ cov_b @ root), 0, None)).sum()
    return float(np.square(mean_a - mean_b).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * cross)


def _root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T


def frechet_with_interval(sample: np.ndarray, reference: np.ndarray) -> tuple[float, Interval]:
    """The distance of a sample from a reference, and how far it might be for another sample (leaving out tenths)."""
    value = frechet(sample, reference)
    group = np.arange(len(sample)) % GROUPS
    return value, jackknife(value, [frechet(sample[group != g], reference) for g in range(GROUPS)])


def frechet_without_bias(sample: np.ndarray, reference: np.ndarray) -> float:
    """The distance of an endless sample: a line through those of parts of it, over 1 / n, followed to 0.

    Few pictures make the distance too large, by about as much as 1 / n (Chong and Forsyth 2020, arXiv 1911.07023).
    """
    sizes, distances = [], []
    for parts in (1, 2, 3, 4):
        for part in range(parts):
            chosen = sample[part::parts]
            sizes.append(1 / len(chosen))
            distances.append(frechet(chosen, reference))
    weights = [math.sqrt(1 / (size * len(sample))) for size in sizes]
    _, at_zero = np.polyfit(sizes, distances, 1, w=weights)
    return float(at_zero)
