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
