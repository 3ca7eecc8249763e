import numpy as np
import pytest
from astropy.table import Table

from lenspipe.training.datasets import load_stamps
from lenspipe.training.posterior import WITH_MOMENTS, _spread_of, posteriors_with, sample_posteriors
from lenspipe.training.recalibrate import recalibrate


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
        calibration={
            **regressor.calibration,
            "sigma_scale": {t: 2 * s for t, s in regressor.calibration["sigma_scale"].items()},
        },
    )
    one, two = (sample_posteriors(b, image, noise, 6)["theta_e"] for b in (regressor, wide))
    for name in ("err_lo", "err_hi", "aleatoric", "epistemic"):
        assert np.all(getattr(one, name) > 0)
        assert np.all(getattr(two, name) > getattr(one, name))
    np.testing.assert_allclose(two.sigma, 2 * one.sigma)
    np.testing.assert_array_equal(two.mean, one.mean)


def test_a_network_without_a_share_has_no_say(regressor, stamps):
    args = stamps.image[:6], stamps.noise_sigma[:6], 8, 1, 8
    networks, targets = regressor.networks(), regressor.targets
    alone = posteriors_with(networks[:1], targets, *args)
    mixed = posteriors_with(networks, targets, *args, {"shares": {t: [1.0, 0.0] for t in targets}})
    for name in ("median", "err_lo", "epistemic", "mean"):
        np.testing.assert_allclose(
            getattr(mixed["theta_e"], name), getattr(alone["theta_e"], name), rtol=1e-6, err_msg=name
        )


def test_the_line_moves_the_mean_and_leaves_the_width(regressor, stamps):
    args = regressor.networks(), regressor.targets, stamps.image[:6], stamps.noise_sigma[:6], 8, 1, 8
    raw = posteriors_with(*args)["theta_e"]
    moved = posteriors_with(*args, {"line": {"theta_e": [0.1, 1.2]}})["theta_e"]
    np.testing.assert_allclose(moved.mean, 0.1 + 1.2 * raw.mean)
    np.testing.assert_allclose(moved.sigma, raw.sigma)
    shift = moved.mean - raw.mean
    np.testing.assert_allclose(np.log(moved.median), np.log(raw.median) + shift)


def test_a_full_covariance_tells_correlations_and_the_same_variances_where_there_are_none():
    rng = np.random.default_rng(0)
    log_variance = rng.normal(size=(4, 3, 5))
    plain, none = _spread_of(log_variance[:, :, None])
    assert none is None
    square = np.einsum("nkc,kj->nkjc", log_variance, np.eye(3))
    variances, covariances = _spread_of(square)
    np.testing.assert_allclose(variances, plain)
    np.testing.assert_allclose(np.einsum("nkkc->nkc", covariances), plain)
    square[:, 2, 0] = 0.7  # below the diagonal: targets 0 and 2 are correlated
    variances, covariances = _spread_of(square)
    factor = np.diag(np.exp(-0.5 * np.diag(square[1, :, :, 2])))
    factor[2, 0] = 0.7
    np.testing.assert_allclose(covariances[1, :, :, 2], np.linalg.inv(factor @ factor.T))
    np.testing.assert_allclose(variances[1, :, 2], np.diag(np.linalg.inv(factor @ factor.T)))


def test_conformal_intervals_are_so_many_sigma_about_the_mean(regressor, stamps):
    found = sample_posteriors(regressor, stamps.image[:6], stamps.noise_sigma[:6], 8)["theta_e"]
    factor = regressor.calibration["conformal"]["theta_e"]["0.95"]
    np.testing.assert_allclose(np.log(found.hi95), found.mean + factor * found.sigma)
    np.testing.assert_allclose(np.log(found.lo95), found.mean - factor * found.sigma)
    args = stamps.image[:6], stamps.noise_sigma[:6], 8, 1, 8
    raw = posteriors_with(regressor.networks(), regressor.targets, *args)
    assert np.isnan(raw["theta_e"].lo95).all()
    assert np.isnan(raw.novelty).all()


def test_calibrated_posteriors_are_those_that_held_out_rows_are_recalibrated_to(regressor, stamps):
    args = regressor.networks(), regressor.targets, stamps.image[:6], stamps.noise_sigma[:6], 8, 1, 8
    raw = Table(posteriors_with(*args).columns(WITH_MOMENTS))
    told = posteriors_with(*args, regressor.calibration).columns(WITH_MOMENTS)
    after = recalibrate(raw, regressor.targets, regressor.calibration)
    for name in after.colnames:
        if name != "novelty":
            np.testing.assert_allclose(after[name], told[name], rtol=1e-5, err_msg=name)
