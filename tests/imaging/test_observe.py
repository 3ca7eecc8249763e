"""PSF and convolution against GalSim and scipy, noise against its own statistics."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from scipy.signal import fftconvolve

from lenspipe.imaging import observe
from tests.oracles.lenstronomy_scene import psf_image

#: JAX runs in 32 bits unless told otherwise.
EXACT = 1e-5 if keras.backend.backend() == "jax" else 1e-9


def as_numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


def test_kernels_agree_with_galsim():
    fwhm = np.array([[1.1, 0.9], [1.0, 0.8], [1.2, 0.7]])
    beta = np.array([np.inf, 3.0, np.nan])
    kernels = as_numpy(observe.psf_kernel(fwhm, beta, 30, 0.1))
    assert kernels.shape == (3, 61, 61, 2)
    for i in range(3):
        for b in range(2):
            theirs = psf_image(fwhm[i, b], beta[i], 30, 0.1)
            np.testing.assert_allclose(kernels[i, :, :, b], theirs, atol=1e-4 * theirs.max())
    np.testing.assert_allclose(kernels.sum(axis=(1, 2)), 1.0, rtol=EXACT)
    np.testing.assert_array_equal(kernels, kernels[:, ::-1, ::-1])  # exactly centred


def test_fwhm_is_the_full_width_at_half_maximum():
    kernel = as_numpy(observe.psf_kernel(np.array([[2.0]]), np.array([2.5]), 10, 0.25))[0, :, :, 0]
    assert kernel[10, 14] / kernel[10, 10] == pytest.approx(0.5, rel=1e-6)


def test_transfer_is_the_transform_of_the_kernel():
    fwhm, beta = np.array([[1.0, 0.8]]), np.array([3.5])
    kernel = as_numpy(observe.psf_kernel(fwhm, beta, 20, 0.1))
    transfer = as_numpy(observe.psf_transfer(fwhm, beta, 20, 0.1, 48, box=3))
    frequency = np.fft.fftfreq(48)
    box = np.sinc(3 * frequency)
    for b in range(2):
        frame = np.zeros((48, 48))
        frame[:41, :41] = kernel[0, :, :, b]
        expected = np.fft.fft2(np.roll(frame, (-20, -20), (0, 1))) * box[:, None] * box
        np.testing.assert_allclose(transfer[0, b], expected.real, atol=EXACT)
    with pytest.raises(ValueError, match="frame must exceed"):
        observe.psf_transfer(fwhm, beta, 20, 0.1, 40)


def test_convolution_does_not_wrap():
    rng = np.random.default_rng(8)
    image = rng.random((2, 20, 25, 2))
    kernel = rng.random((2, 7, 7, 2))
    out = as_numpy(observe.convolve(image, kernel))
    for i in range(2):
        for b in range(2):
            expected = fftconvolve(image[i, :, :, b], kernel[i, :, :, b], mode="same")
            np.testing.assert_allclose(out[i, :, :, b], expected, atol=EXACT)
    with pytest.raises(ValueError, match="odd side"):
        observe.convolve(image, kernel[:, :6, :6])


def test_binning_sums_blocks():
    image = np.arange(2 * 4 * 6 * 1, dtype=float).reshape(2, 4, 6, 1)
    out = as_numpy(observe.bin_pixels(image, 2))
    assert out.shape == (2, 2, 3, 1)
    assert out[0, 0, 0, 0] == image[0, :2, :2, 0].sum()
    assert out.sum() == image.sum()
    with pytest.raises(ValueError, match="multiples of the factor 4"):
        observe.bin_pixels(image, 4)


def test_noise_has_the_promised_mean_variance_and_poisson_skewness():
    gain, sky = np.array([0.5, 4.0]), np.array([3.0, 1.0])
    flux = np.full((300, 300, 2), 8.0)
    noisy = observe.add_noise(flux, gain, sky, np.random.default_rng(9))
    assert noisy.dtype == np.float32
    sigma = observe.noise_sigma(flux, gain, sky)
    np.testing.assert_allclose(sigma[0, 0], np.sqrt(sky**2 + 8.0 / gain))
    excess = noisy.astype(float) - flux
    np.testing.assert_allclose(excess.mean(axis=(0, 1)), 0.0, atol=5 * sigma.max() / 300)
    np.testing.assert_allclose(excess.std(axis=(0, 1)), sigma[0, 0], rtol=0.01)
    third = (excess**3).mean(axis=(0, 1))
    np.testing.assert_allclose(third, 8.0 / gain**2, rtol=0.25)  # a Gaussian would have none


def test_noise_of_negative_flux_is_the_sky_alone():
    flux = np.full((100, 100, 1), -1e-4)
    noisy = observe.add_noise(flux, np.array([2.0]), np.array([1.0]), np.random.default_rng(1))
    assert noisy.std() == pytest.approx(1.0, rel=0.05)


def test_noise_is_reproducible():
    flux = np.ones((4, 4, 1))
    first, second = (
        observe.add_noise(flux, np.array([2.0]), np.array([1.0]), np.random.default_rng(1)) for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)
