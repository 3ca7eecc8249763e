import numpy as np

from lenspipe.refine.projection import project


def test_the_best_fluxes_are_found_and_noise_is_left(truth, pixels):
    flat, flux, light, arcs = project(truth, pixels)
    np.testing.assert_allclose(flux[:, :, 0], [[8e3, 2e4]] * 2, rtol=0.02)
    np.testing.assert_allclose(flux[:, :, 1], [[4e3, 3e3]] * 2, rtol=0.05)
    np.testing.assert_allclose(np.mean(flat**2, axis=1), 1.0, atol=0.05)
    assert light.shape == arcs.shape == pixels.image.shape


def test_they_are_the_least_squares_solution(truth, pixels):
    _, flux, light, arcs = project(truth, pixels)
    for k in range(2):
        for b in range(2):
            design = np.stack([light[k, ..., b].ravel(), arcs[k, ..., b].ravel()], axis=1)
            expected = np.linalg.lstsq(design, pixels.image[k, ..., b].ravel(), rcond=None)[0]
            np.testing.assert_allclose(flux[k, b], expected, rtol=1e-4)


def test_no_flux_is_negative_and_without_lensing_there_is_no_source(truth, pixels):
    dark = type(pixels)(pixels.image - 60.0, pixels.inverse_sigma, pixels.psf, pixels.pixel_scale)
    assert project(truth, dark)[1].min() >= 0
    _, alone, _, _ = project(truth, pixels, lensed=False)
    assert not alone[:, :, 1].any()
    assert np.all(alone[:, :, 0] > 0)


def test_pixels_without_weight_do_not_count(truth, pixels):
    spoilt = pixels.take(np.arange(2))
    spoilt.image[:, :5] = 1e6
    where = np.ones(spoilt.image.shape[:3])
    where[:, :5] = 0
    np.testing.assert_allclose(
        project(truth, spoilt.take(np.arange(2), where))[1],
        project(truth, pixels.take(np.arange(2), where))[1],
        rtol=1e-6,
    )
