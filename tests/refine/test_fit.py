import numpy as np

from lenspipe.refine.fit import refine_lenses
from lenspipe.refine.parameters import PLACE, shape_of


def test_lenses_come_back_with_errors_that_hold(truth, pixels):
    theta_e = truth[:, PLACE["theta_e"]]
    got = refine_lenses(pixels, theta_e * [1.08, 0.93], 0.07 * theta_e)
    assert got.converged.all()
    np.testing.assert_allclose(got.chi2, 1.0, atol=0.1)
    k = PLACE["theta_e"]
    assert np.all(got.sigma[:, k] / theta_e < 0.015)
    np.testing.assert_allclose(got.vector[:, k], theta_e, rtol=0.02)
    for name in ("theta_e", "x_lens", "y_lens", "light_e1", "x_src"):
        pull = (got.vector - truth)[:, PLACE[name]] / got.sigma[:, PLACE[name]]
        assert np.all(np.abs(pull) < 4), name
    np.testing.assert_allclose(got.residual.std(axis=(1, 2, 3)), 8.0, rtol=0.05)
    columns = got.columns()
    np.testing.assert_allclose(columns["fit_theta_e"], got.vector[:, k])
    q, _ = shape_of(truth[:, PLACE["e1"]], truth[:, PLACE["e2"]])
    assert np.all(np.abs(columns["fit_q"] - q) < 4 * columns["fit_q_err"] + 0.02)
    assert all(np.isfinite(values).all() and len(values) == 2 for values in columns.values())


def test_what_is_no_lens_has_a_model_that_does_not_fit(pixels):
    """Two galaxies of equal brightness, side by side."""
    side = pixels.image.shape[1]
    y, x = (np.mgrid[:side, :side] - 0.5 * (side - 1)) * pixels.pixel_scale
    blobs = sum(
        np.exp(-((x - dx) ** 2 + (y - dy) ** 2) / 0.6) for dx, dy in ((0.0, 0.0), (1.5, 1.0), (-1.7, 1.5))
    )
    image = np.random.default_rng(3).normal(0, 8.0, pixels.image[:1].shape) + 1500 * blobs[None, :, :, None]
    one = type(pixels)(
        image, pixels.inverse_sigma[:1], {k: v[:1] for k, v in pixels.psf.items()}, pixels.pixel_scale
    )
    got = refine_lenses(one, np.array([1.5]), np.array([0.1]))
    assert got.chi2[0] > 2
