from __future__ import annotations

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import uniform_filter

from lenspipe.core.types import BandImage
from lenspipe.imaging import cutout
from lenspipe.imaging.astrometry import read_wcs

RNG = np.random.default_rng(4)


def blob(size, x0, y0, width=3.0, total=1000.0):
    y, x = np.mgrid[:size, :size]
    return (
        total / (2 * np.pi * width**2) * np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / (2 * width**2))
    ).astype("f4")


def band(flux, wcs, scale=0.263):
    return BandImage("g", flux, np.ones_like(flux), wcs, scale, 1.0, np.zeros(flux.shape, bool))


def tan(scale=0.263, x=50.0, y=50.0, angle=0.0, ra=52.7, dec=-52.5):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [ra, dec], [x + 1, y + 1]
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    wcs.wcs.cd = np.array([[-c, s], [s, c]]) * scale / 3600
    return wcs


@given(st.floats(-20, 120), st.floats(-20, 120), st.integers(8, 40))
def test_a_stamp_is_the_image_around_the_position(x, y, size):
    image = np.arange(100 * 100, dtype=np.float32).reshape(100, 100)
    stamp = cutout.cut_stamp(image, x, y, size)
    assert stamp.shape == (size, size)
    for row, column in ((0, 0), (size // 2, size // 2), (size - 1, size - 1)):
        # the pixel's place in the image, from the rule that the centre is within half a pixel
        iy, ix = (round(float(np.floor(c - (size - 1) / 2 + 0.5))) + k for c, k in ((y, row), (x, column)))
        inside = 0 <= iy < 100 and 0 <= ix < 100
        assert (stamp[row, column] == image[iy, ix]) if inside else np.isnan(stamp[row, column])


@pytest.mark.parametrize("ratio", [0.6, 1.0, 1.41, 2.5])
def test_resampling_conserves_flux_and_centre(ratio):
    image = blob(161, 80.3, 79.6, width=5.0)
    size = 64
    stamp = cutout.resample_stamp(image, 80.3, 79.6, size, ratio)
    covered = cutout.cut_stamp(image, 80.3, 79.6, round(size * ratio))
    assert np.nansum(stamp) == pytest.approx(np.nansum(covered), rel=2e-3)
    y, x = np.mgrid[:size, :size]
    centre = (np.nansum(stamp * x) / np.nansum(stamp), np.nansum(stamp * y) / np.nansum(stamp))
    tolerance = 0.51 if ratio == 1.0 else 0.05  # a plain cut keeps whole pixels
    assert centre == pytest.approx(((size - 1) / 2,) * 2, abs=tolerance)


def test_resampling_beyond_the_edge_is_nan_and_constant_surface_brightness_scales_with_area():
    stamp = cutout.resample_stamp(np.ones((50, 50), np.float32), 5.0, 25.0, 32, 1.5)
    assert np.isnan(stamp[:, 0]).all()
    assert np.nanmedian(stamp) == pytest.approx(1.5**2, rel=1e-3)


def moffat(size, x0, y0, fwhm, pixel):
    """A star, or the core of a galaxy, seen by pixels of a side `pixel`; positions, widths in the same unit."""
    fine = (np.arange(11 * size) + 0.5) / 11 - 0.5
    y, x = np.meshgrid(fine * pixel - y0, fine * pixel - x0, indexing="ij")
    core = (1 + (x**2 + y**2) * 4 * (2 ** (1 / 3) - 1) / fwhm**2) ** -3.0
    return core.reshape(size, 11, size, 11).mean(axis=(1, 3)).astype("f4")


@pytest.mark.parametrize("ninths", [11, 7, 3])
def test_resampling_leaves_no_pattern_in_a_core(ninths):
    scale, ratio, size = 0.263 * ninths / 9, 9 / ninths, 33
    native = moffat(201, 100 * scale, 100 * scale, 1.0, scale)
    stamp = cutout.resample_stamp(native, 100.0, 100.0, size, ratio) / ratio**2
    # what both pixels in turn make of it: as wide as that, and as smooth
    expected = moffat(size * 9, 16 * 0.263 + 0.263 * 4 / 9, 16 * 0.263 + 0.263 * 4 / 9, 1.0, 0.263 / 9)
    expected = uniform_filter(expected, ninths).reshape(size, 9, size, 9).mean(axis=(1, 3))
    assert np.abs(stamp - expected)[8:-8, 8:-8].max() < 0.01 * expected.max()


@pytest.mark.parametrize("angle", [0.0, 30.0, 117.0])
def test_reprojection_puts_a_source_where_the_first_band_has_it(angle):
    reference, other = tan(), tan(scale=0.2, x=71.0, y=66.0, angle=angle)
    sky = reference.all_pix2world(57.2, 44.9, 0)
    x, y = (float(v) for v in other.all_world2pix(*sky, 0))
    image = band(blob(140, x, y, width=4.0), other, 0.2)
    target = cutout.local_wcs(reference, 57.2, 44.9, 48, 1.0)
    stamp = cutout.reproject_stamp(*cutout.window(image, target, 48, 0.263 / 0.2), target, 48)
    expected = cutout.cut_stamp(blob(101, 57.2, 44.9, width=4.0 * 0.2 / 0.263), 57.2, 44.9, 48)
    assert np.nansum(stamp) == pytest.approx(1000.0, rel=5e-3)
    assert np.nanmax(np.abs(stamp - expected)) < 0.03 * expected.max()


def test_grids_are_compared_at_the_corners():
    side = (100, 100)
    assert cutout.same_grid(tan(x=50.1), side, tan(), side)
    assert not cutout.same_grid(tan(x=51.0), side, tan(), side)
    assert not cutout.same_grid(tan(angle=1.0), side, tan(), side)
    assert not cutout.same_grid(tan(), (90, 100), tan(), side)
    assert cutout.same_grid(None, side, None, side)
    assert not cutout.same_grid(None, side, tan(), side)


@given(
    st.lists(st.tuples(st.floats(-30, 70), st.floats(-30, 60)), max_size=6),
    st.integers(1, 33),
)
def test_all_stamps_at_once_are_those_cut_one_by_one(places, size):
    image = np.arange(50 * 40, dtype=np.float32).reshape(50, 40)
    x, y = (np.array([place[axis] for place in places], float) for axis in (0, 1))
    stamps = cutout.cut_many(image, x, y, size)
    rows, columns = cutout.stamps_inside(image.shape, x, y, size)
    inside = rows[:, :, None] & columns[:, None, :]
    assert stamps.shape == inside.shape == (len(places), size, size)
    assert np.array_equal(np.isfinite(stamps), inside)
    padded = np.pad(image, 100, constant_values=np.nan)
    for stamp, px, py in zip(stamps, x, y, strict=True):
        left, bottom = cutout.corner(px, size) + 100, cutout.corner(py, size) + 100
        assert np.array_equal(stamp, padded[bottom : bottom + size, left : left + size], equal_nan=True)


def test_holes_at_the_edge_are_filled_as_bright_as_their_neighbours():
    image = np.full((30, 30), 7.0, np.float32)
    image[0, 5:8] = image[10:13, 10:13] = np.nan
    assert np.allclose(cutout.fill_bad_pixels(image[None]), 7.0, rtol=1e-6)
    image[:, :20] = np.nan
    (filled,) = cutout.fill_bad_pixels(image[None])
    assert np.isnan(filled[:, :15]).all()  # no good pixel within reach
    assert np.allclose(filled[:, 17:], 7.0)


def test_aperture_flux_and_error():
    stamps = np.zeros((2, 64, 64, 1), np.float32)
    stamps[0, ..., 0] = blob(64, 31.5, 31.5, width=1.0)
    stamps[1] = 1.0
    flux, error = cutout.measure_aperture(stamps, np.array([[2.0], [2.0]]), 0.263)
    area = np.pi * (cutout.APERTURE_RADIUS / 0.263) ** 2
    assert flux[0, 0] == pytest.approx(1000.0, rel=1e-3)
    assert flux[1, 0] == pytest.approx(area, rel=1e-3)
    assert error[0, 0] == pytest.approx(2 * np.sqrt(area), rel=0.05)


def test_bad_pixels_in_a_galaxy_are_filled_smoothly():
    image = blob(41, 20.0, 20.0, width=4.0)
    holed = image.copy()
    holed[18:20, 22] = holed[25, 15] = np.nan
    (filled,) = cutout.fill_bad_pixels(holed[None])
    assert np.array_equal(filled[np.isfinite(holed)], image[np.isfinite(holed)])
    assert np.abs(filled - image).max() < 0.12 * image.max()


@pytest.mark.parametrize(
    "absurd", [{"CRVAL1": 1e300}, {"CRPIX1": 1e30}, {"PV1_1": 0.0}, {"A_2_0": 1.0}, {"CRVAL2": 200}]
)
def test_an_absurd_grid_is_another_one_and_reaches_nothing(absurd):
    header = tan().to_header()
    if "PV1_1" in absurd:
        header.update({"CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV"})
    if "A_2_0" in absurd:
        header.update({"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 2, "B_ORDER": 2})
    header.update(absurd)
    wrong, side = WCS(header) if "CRVAL2" not in absurd else tan(), (100, 100)
    if "CRVAL2" in absurd:
        wrong.wcs.crval = [10.0, 200.0]  # WCS(header) would refuse
    assert not cutout.same_grid(wrong, side, tan(), side)
    assert not cutout.same_grid(tan(), side, wrong, side)
    image = band(np.ones(side, np.float32), tan())
    target = cutout.local_wcs(wrong, 20.0, 30.0, 32, 1.0)
    part = cutout.window(image, target, 32, 1.0)
    assert part is None or np.isfinite(part[0]).all()


def test_a_grid_elsewhere_on_the_sky_reaches_nothing():
    image = band(np.ones((100, 100), np.float32), tan(ra=232.7, dec=52.5))
    assert cutout.window(image, cutout.local_wcs(tan(), 20.0, 30.0, 32, 1.0), 32, 1.0) is None


@pytest.mark.parametrize("radesys", [{}, {"RADESYS": "ICRS"}])
def test_grids_of_two_frames_are_compared_on_one_sky(radesys):
    place = SkyCoord(52.7, -52.5, unit="deg")
    # north is elsewhere in galactic coordinates: the grid that lies on the first one's pixels is turned
    turn = place.position_angle(SkyCoord(0, 90, unit="deg", frame="galactic").icrs).deg
    for angle, same in ((turn, True), (-turn, False), (0.0, False)):
        galactic = tan(angle=-angle, ra=place.galactic.l.deg, dec=place.galactic.b.deg)
        galactic.wcs.ctype = ["GLON-TAN", "GLAT-TAN"]
        header = galactic.to_header()
        header.update({"NAXIS1": 100, "NAXIS2": 100, **radesys})
        read, _ = read_wcs(header)
        assert cutout.same_grid(read, (100, 100), tan(), (100, 100)) is same
        if same:
            stamp = cutout.local_wcs(read, 57.0, 44.0, 33, 1.0)
            direct = cutout.local_wcs(tan(), 57.0, 44.0, 33, 1.0)
            assert stamp.wcs.crval == pytest.approx(direct.wcs.crval, abs=1e-8)
            assert stamp.wcs.get_pc() == pytest.approx(direct.wcs.get_pc(), abs=1e-10)
