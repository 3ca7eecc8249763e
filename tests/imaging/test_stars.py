"""The PSF measured on stars that GalSim drew, among galaxies, and on the image of one."""

from __future__ import annotations

import galsim
import numpy as np
import pytest

from lenspipe.core.errors import InputError
from lenspipe.core.types import BandImage
from lenspipe.imaging.stars import fit_psf, measure_psf

SCALE = 0.263


def field(n_stars: int, n_galaxies: int, fwhm: float, beta: float, sigma: float = 5.0) -> BandImage:
    size, step = 480, 48
    image = galsim.ImageF(size, size, scale=SCALE)
    rng = np.random.default_rng(3)
    psf = galsim.Moffat(beta=beta, fwhm=fwhm)
    for k in range(n_stars + n_galaxies):
        row, column = divmod(k, size // step)
        profile = psf
        if k >= n_stars:
            galaxy = galsim.Exponential(half_light_radius=rng.uniform(0.4, 1.5))
            profile = galsim.Convolve(psf, galaxy.shear(g1=rng.uniform(-0.3, 0.3)))
        x, y = (step * (c + 0.5) + rng.uniform(-0.5, 0.5) for c in (column, row))
        stamp = galsim.ImageF(41, 41, scale=SCALE)
        stamp.setCenter(round(x), round(y))
        (profile * 10 ** rng.uniform(4.2, 5.0)).drawImage(stamp, offset=(x - round(x), y - round(y)))
        image[stamp.bounds] += stamp
    flux = image.array + rng.normal(0, sigma, (size, size)).astype(np.float32)
    return BandImage("i", flux, np.full_like(flux, sigma), None, SCALE, 0.8, np.zeros(flux.shape, bool))


@pytest.mark.parametrize(("fwhm", "beta"), [(0.9, 3.0), (1.2, 2.5)])
def test_width_and_wings_are_those_of_the_stars(fwhm, beta):
    found = measure_psf(field(30, 60, fwhm, beta))
    assert found[0] == pytest.approx(fwhm, rel=0.03)
    assert found[1] == pytest.approx(beta, rel=0.15)


def test_too_few_sources_is_said():
    with pytest.raises(InputError, match=r"PSF in i cannot be measured: .* are needed"):
        measure_psf(field(4, 0, 0.9, 3.0))


@pytest.mark.parametrize(("side", "fwhm", "beta"), [(25, 0.9, 3.0), (41, 1.2, 1.8)])
def test_the_image_of_a_psf_has_its_width_and_wings(side, fwhm, beta):
    image = galsim.Moffat(beta=beta, fwhm=fwhm).drawImage(nx=side, ny=side, scale=SCALE).array
    assert fit_psf(1.7 * image, SCALE) == pytest.approx((fwhm, beta), rel=0.03)


@pytest.mark.parametrize("image", [np.ones((24, 24)), np.ones((5, 25)), np.zeros((25, 25))])
def test_what_is_no_psf_image_is_refused(image):
    with pytest.raises(InputError, match="must be square, odd and positive"):
        fit_psf(image, SCALE)
