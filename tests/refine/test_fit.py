import numpy as np

from lenspipe.refine.fit import refine_lenses
from lenspipe.refine.parameters import PLACE, shape_of
from lenspipe.refine.projection import Pixels
from tests.oracles.lenstronomy_scene import galsim_image, lensed_image


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
    assert np.all(got.snr_src > 50)
    columns = got.columns()
    np.testing.assert_allclose(columns["fit_theta_e"], got.vector[:, k])
    q, _ = shape_of(truth[:, PLACE["e1"]], truth[:, PLACE["e2"]])
    assert np.all(np.abs(columns["fit_q"] - q) < 4 * columns["fit_q_err"] + 0.02)
    assert all(np.isfinite(values).all() and len(values) == 2 for values in columns.values())


def test_a_galaxy_without_arcs_has_no_source_to_speak_of(truth, draw):
    got = refine_lenses(draw(truth[:1], (8e3, 2e4), (0.0, 0.0), seed=2), np.array([1.3]), np.array([0.1]))
    assert got.chi2[0] < 1.1
    assert got.snr_src[0] < 5


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


def test_a_lens_drawn_by_somebody_else_comes_back():
    """Arcs by lenstronomy, the lens galaxy by GalSim."""
    lens = {"theta_e": 1.4, "q": 0.75, "phi": 30.0, "x_lens": 0.08, "y_lens": -0.05, "gamma_ext": 0.04}
    lens["phi_ext"] = -20.0
    source = {"flux": 900.0, "r_eff": 0.25, "n": 1.0, "q": 0.7, "phi": 50.0, "x": 0.28, "y": 0.12}
    galaxy = {"flux": 4000.0, "r_eff": 0.7, "n": 4.0, "q": 0.8, "phi": 25.0, "x": 0.08, "y": -0.05}
    size, scale, fwhm, noise = 48, 0.263, 0.9, 4.0
    image = lensed_image(lens, source, size, scale, fwhm, np.inf) + galsim_image(
        galaxy, size, scale, fwhm, np.inf
    )
    image = image[None, :, :, None] + np.random.default_rng(5).normal(0, noise, (1, size, size, 2))
    psf = {"psf_fwhm": np.full((1, 2), fwhm), "psf_beta": np.full((1, 2), np.inf)}
    pixels = Pixels(image, np.full(image.shape, 1 / noise), psf, scale)
    got = refine_lenses(pixels, np.array([1.5]), np.array([0.12]))
    told = {name.removeprefix("fit_"): values[0] for name, values in got.columns().items()}
    np.testing.assert_allclose(told["chi2"], 1.0, atol=0.1)
    for name in ("theta_e", "q", "x_lens", "y_lens", "gamma_ext"):
        assert abs(told[name] - lens[name]) < 4 * told[f"{name}_err"] + 2e-3, name
    np.testing.assert_allclose(told["theta_e"], 1.4, rtol=0.02)
    np.testing.assert_allclose(got.flux[0, :, 1], 900.0, rtol=0.2)
