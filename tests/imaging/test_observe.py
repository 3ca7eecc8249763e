"""The noise model: its size against Poisson counts of electrons, and the two ways to ask for it."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from lenspipe.core.survey import load_survey
from lenspipe.imaging import observe

RNG = np.random.default_rng(3)


def test_noise_of_a_coadd_is_that_of_counted_electrons():
    # the i band of DES, exposure by exposure: Poisson counts of sky and object, read noise, averaged
    survey = load_survey("des")
    band = survey.bands["i"]
    gain, pixel = band.electrons_per_njy(), survey.pixel_scale
    flux = 2000.0  # nJy
    sky = 10 ** (0.4 * (31.4 - band.sky)) * pixel**2
    trials = 20_000
    coadd = np.zeros(trials)
    for _ in range(band.n_exposures):
        electrons = RNG.poisson((flux + sky) * gain / band.n_exposures, trials)
        coadd += electrons + RNG.normal(0.0, band.read_noise, trials)
    expected = observe.noise_sigma(np.array([flux]), np.array([gain]), np.array([band.sky_sigma(pixel)]))
    assert np.std(coadd / gain) == pytest.approx(float(expected[0]), rel=0.02)  # 4 sigma of 20,000 trials
    assert np.mean(coadd / gain - sky) == pytest.approx(flux, rel=1e-3)


def test_noise_on_a_device_is_the_same():
    flux = RNG.normal(50.0, 100.0, (2, 5, 5, 3)).astype("float32")
    sky, gain = RNG.uniform(5, 20, (2, 3)).astype("float32"), np.array([10.0, 12.0, 20.0], "float32")
    normal = RNG.normal(size=flux.shape).astype("float32")
    mine = keras.ops.convert_to_numpy(observe.add_noise(flux, sky, gain, normal))
    expected = flux + normal * observe.noise_sigma(flux, gain, sky[:, None, None, :])
    np.testing.assert_allclose(mine, expected, rtol=1e-5)


def test_negative_flux_has_no_poisson_noise():
    assert observe.noise_sigma(np.array([-100.0]), np.array([1.0]), np.array([3.0])) == 3.0
