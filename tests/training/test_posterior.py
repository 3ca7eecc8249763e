import numpy as np
import pytest
from scipy.stats import norm

from lenspipe.training.datasets import load_stamps
from lenspipe.training.posterior import mixture_quantile, sample_posteriors


@pytest.fixture(scope="module")
def stamps(data):
    return load_stamps(data)


def test_a_posterior_is_the_same_whatever_its_neighbours_and_batch(regressor, stamps):
    image, noise = stamps.image[:20], stamps.noise_sigma[:20]
    whole = sample_posteriors(regressor, image, noise, mc_samples=6, batch_size=16)
    for size in (16, 3, 1):
        part = sample_posteriors(regressor, image[[11, 4]], noise[[11, 4]], mc_samples=6, batch_size=size)
        for target in ("theta_e", "z_src"):
            for name, value in vars(part[target]).items():
                np.testing.assert_array_equal(
                    value, getattr(whole[target], name)[[11, 4]], err_msg=f"{name} {size}"
                )


def test_errors_are_positive_and_widen_with_calibration(regressor, stamps):
    import dataclasses

    image, noise = stamps.image[:8], stamps.noise_sigma[:8]
    wide = dataclasses.replace(
        regressor,
        calibration={"sigma_scale": {t: 2 * s for t, s in regressor.calibration["sigma_scale"].items()}},
    )
    one, two = (sample_posteriors(b, image, noise, 6)["theta_e"] for b in (regressor, wide))
    for name in ("err_lo", "err_hi", "aleatoric", "epistemic"):
        assert np.all(getattr(one, name) > 0)
        assert np.all(getattr(two, name) > getattr(one, name))
    np.testing.assert_allclose(two.sigma, 2 * one.sigma)
    np.testing.assert_array_equal(two.mean, one.mean)


@pytest.mark.parametrize("probability", [0.16, 0.5, 0.84])
def test_mixture_quantiles_invert_the_mixture(probability):
    rng = np.random.default_rng(0)
    means, variances = rng.normal(0, 2, (5, 3, 7)), rng.uniform(0.01, 4, (5, 3, 7))
    at = mixture_quantile(means, variances, probability)
    below = norm.cdf(at[..., None], means, np.sqrt(variances)).mean(axis=-1)
    np.testing.assert_allclose(below, probability, atol=1e-5)
