import numpy as np
import pytest
from scipy import stats

from tintype.evaluation.intervals import bootstrap_mean, bootstrap_ratio, jackknife, wilson


@pytest.mark.parametrize(("right", "of"), [(0, 7), (3, 7), (7, 7), (200, 256), (1, 1024)])
def test_wilson_is_scipys(right, of):
    low, high = stats.binomtest(right, of).proportion_ci(method="wilson")
    assert wilson(right, of) == pytest.approx((low, high), abs=1e-9)


def test_wilson_of_nothing_knows_nothing():
    assert wilson(0, 0) == (0.0, 1.0)


def test_the_bootstrap_of_a_mean_is_about_the_normal_interval():
    values = np.random.default_rng(0).normal(3, 2, size=400)
    error = values.std(ddof=1) / 20
    low, high = bootstrap_mean(values)
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.15 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.15 * error)


def test_a_ratio_of_things_that_go_together_is_sure():
    others = np.random.default_rng(0).uniform(1, 5, size=100)
    assert bootstrap_ratio(others / 2, others) == pytest.approx((0.5, 0.5))


def test_the_jackknife_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(1).normal(size=50)
    low, high = jackknife(values.mean(), [np.delete(values, i).mean() for i in range(50)])
    assert (high - low) / (2 * 1.96) == pytest.approx(values.std(ddof=1) / np.sqrt(50), rel=1e-3)
