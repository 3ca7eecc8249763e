from __future__ import annotations

import galsim.des
import numpy as np
import pytest
from astropy.io import fits
from psfex_file import make_model, write_psfex

from lenspipe.imaging.psf import psf_width
from lenspipe.imaging.psfmodel import look_up_width, psf_at, typical_width, width_over

PLACES = [(0.0, 0.0), (2000.0, 300.0), (777.7, 3456.7), (3999.0, 3999.0)]


@pytest.mark.parametrize(("degree", "step"), [(0, 1.0), (1, 0.7), (2, 0.5)])
def test_psf_at_is_galsims(tmp_path, degree, step):
    model = make_model(degree, step)
    write_psfex(tmp_path / "a.psf", model)
    reference = galsim.des.DES_PSFEx(str(tmp_path / "a.psf"))
    for x, y in PLACES:
        image = psf_at(model, x, y)
        side = len(image)
        assert side % 2 == 1
        assert image.sum() == pytest.approx(1.0)
        star = reference.getPSF(galsim.PositionD(x + 1, y + 1))  # FITS counts from 1
        drawn = star.drawImage(nx=side, ny=side, scale=1.0, method="no_pixel").array
        assert np.abs(image - drawn / drawn.sum()).max() < 0.01 * image.max()


def test_the_polynomial_runs_over_x_first():
    model = make_model(2, 1.0)
    x, y = 1234.0, 3210.0
    u, v = (x + 1 - model.zero[0]) / model.scale[0], (y + 1 - model.zero[1]) / model.scale[1]
    direct = sum(
        factor * image for factor, image in zip((1, u, u**2, v, u * v, v**2), model.basis, strict=True)
    )
    assert psf_at(model, x, y) == pytest.approx(direct / direct.sum(), abs=1e-12)


def test_width_between_the_places_where_it_was_measured():
    model = make_model(2, 0.6)
    field = width_over(model, (4000, 4000), psf_width)
    x, y = np.random.default_rng(1).uniform(0, 3999, size=(2, 30))
    direct = [psf_width(psf_at(model, *place)) for place in zip(x, y, strict=True)]
    assert field(x, y) == pytest.approx(np.array(direct), rel=0.02)  # `psf_width` itself goes in steps of 1 %
    assert np.ptp(direct) > 0.5  # it does vary
    assert field(np.zeros(0), np.zeros(0)).shape == (0,)


def test_widths_of_a_map_and_where_it_has_none():
    sizes = np.full((4, 6), 1.5, np.float32)
    sizes[0, 0], sizes[1, 2], sizes[3, 5] = 0.0, np.nan, 2.0
    found = look_up_width(sizes, np.array([0.2, 2.0, 99.0, 3.0]), np.array([0.0, 1.4, 99.0, 1.0]), 1.1)
    assert found == pytest.approx([1.1, 1.1, 2.0, 1.5])
    assert typical_width(sizes) == pytest.approx(1.5)
    assert typical_width(np.zeros((3, 3))) is None


def test_the_files_of_psfex_are_read_as_galsim_reads_them(tmp_path):
    model = make_model(2, 0.5)
    write_psfex(tmp_path / "a.psf", model)
    with fits.open(tmp_path / "a.psf") as hdus:
        assert hdus[1].header["PSFAXIS3"] == 6
        assert hdus[1].data["PSF_MASK"][0].shape == model.basis.shape
