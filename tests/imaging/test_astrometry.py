from __future__ import annotations

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given
from hypothesis import strategies as st

from lenspipe.core.errors import Rejected
from lenspipe.imaging.astrometry import NSIDE, pixels_of, read_wcs, sky_cells, sky_groups, sky_of, sky_steps

SHAPE = (260, 400)
TAN = {
    "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 40.0, "CRVAL2": -20.0, "CRPIX1": 200.0, "CRPIX2": 130.0,
    "CDELT1": -7.3e-5, "CDELT2": 7.3e-5,
}  # fmt: skip
TPV = TAN | {"CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV"}
SIP = TAN | {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 2, "B_ORDER": 2}


def axes(longitude, latitude, **cards):
    return TAN | {"CTYPE1": longitude, "CTYPE2": latitude, **cards}


def wcs_of(cards) -> WCS:
    wcs, _ = read_wcs(fits.Header(cards), SHAPE)
    assert wcs is not None
    return wcs


def test_cd_counts_where_old_keywords_stand_beside_it():
    cards = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 10.0, "CRVAL2": 5.0, "CRPIX1": 1.0}
    cards |= {"CD1_1": -7.3e-5, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 7.3e-5, "CRPIX2": 1.0}
    for wrong in ({"CDELT1": 1.0, "CDELT2": 1.0}, {"CDELT1": -0.5, "CDELT2": 0.5, "CROTA2": 30.0}):
        _, scale = read_wcs(fits.Header(cards | wrong))
        assert scale == pytest.approx(7.3e-5 * 3600)


@pytest.mark.parametrize("cards", [{}, {"CTYPE1": "", "CTYPE2": " "}, axes("LINEAR", "LINEAR")])
def test_a_header_that_names_no_sky_has_none(cards):
    assert read_wcs(fits.Header(cards)) == (None, None)


ABSURD = {
    "crval": (TAN | {"CRVAL1": 1e300}, "no place on the sky"),
    "crpix": (TAN | {"CRPIX1": 1e30}, "no place on the sky"),
    "scale": (TAN | {"CDELT1": 1e30}, "no place on the sky"),
    "tiny": (TAN | {"CDELT1": 1e-300}, "no place on the sky"),
    "singular": (TAN | {"CDELT1": 0.0}, "singular"),
    "tpv": (TPV | {"PV1_1": 0.0}, "no place on the sky"),
    "wild tpv": (TPV | {"PV1_1": 1e5, "PV1_4": 1e9, "PV2_5": 1e12}, "no place on the sky"),
    "huge sip": (SIP | {"A_2_0": 1e300}, "no place on the sky"),
    "wild sip": (SIP | {"A_2_0": 1.0}, "no place on the sky"),
    "dec": (TAN | {"CRVAL2": 200.0}, "No valid solution"),
    "zpn": (axes("RA---ZPN", "DEC--ZPN"), "Invalid parameters"),
    "unknown": (axes("FOO", "FOO"), "no pair of axes is a sky"),
    "projection": (axes("RA---TAN", "DEC--XXX"), "XXX in CTYPE2"),
    "mixed": (axes("RA---TAN", "DEC--SIN"), "Inconsistent projection types"),
    "half": (axes("RA---TAN", ""), "Unmatched"),
    "ecliptic": (axes("ELON-TAN", "ELAT-TAN"), "only RA/DEC and GLON/GLAT"),
    "ecliptic, said to be FK5": (axes("ELON-TAN", "ELAT-TAN", RADESYS="FK5"), "only RA/DEC and GLON/GLAT"),
    "Mars": (axes("MALN-TAN", "MALT-TAN"), "only RA/DEC and GLON/GLAT"),
    "the Earth": (axes("TLON-TAN", "TLAT-TAN"), "only RA/DEC and GLON/GLAT"),
    "apparent": (TAN | {"RADESYS": "GAPPT"}, "RADESYS = 'GAPPT'"),
    "year": (TAN | {"EQUINOX": 0.0}, "EQUINOX = 0 "),
    "text for a year": (TAN | {"EQUINOX": "B1950"}, "EQUINOX = 'B1950'"),
    "text": (TAN | {"CRVAL1": "40.0"}, "CRVAL1 is no number"),
    "nowhere": ({key: TAN[key] for key in TAN if key != "CRVAL2"}, "CRVAL2 is no number"),
}


@pytest.mark.parametrize(("cards", "message"), ABSURD.values(), ids=ABSURD)
def test_a_sky_that_cannot_be_used_is_refused_by_name(cards, message):
    with pytest.raises(Rejected, match=message) as fault:
        read_wcs(fits.Header(cards), SHAPE, "g", "a.fits")
    assert (fault.value.reason, fault.value.path) == ("bad_wcs:g", "a.fits")
    assert "\n" not in fault.value.detail


def test_the_shape_is_the_images_or_the_headers():
    cards = SIP | {"A_2_0": 5e-4}  # folds back some thousand pixels away
    read_wcs(fits.Header(cards), SHAPE)
    read_wcs(fits.Header(cards | {"NAXIS1": SHAPE[1], "NAXIS2": SHAPE[0]}))
    with pytest.raises(Rejected, match="no place"):
        read_wcs(fits.Header(cards), (4000, 4000))
    with pytest.raises(Rejected, match="no place"):
        read_wcs(fits.Header(cards | {"NAXIS1": 4000, "NAXIS2": 4000}))


FRAMES = {
    "galactic": (axes("GLON-TAN", "GLAT-TAN"), "galactic", {}),
    "galactic, said to be ICRS": (axes("GLON-TAN", "GLAT-TAN", RADESYS="ICRS"), "galactic", {}),
    "FK4": (TAN | {"RADESYS": "FK4", "EQUINOX": 1950.0}, "fk4", {"equinox": "B1950"}),
    "1950": (TAN | {"EQUINOX": 1950.0}, "fk4", {"equinox": "B1950"}),
    "of date": (TAN | {"RADESYS": "FK5", "EQUINOX": 2015.5}, "fk5", {"equinox": "J2015.5"}),
}


@pytest.mark.parametrize(("cards", "frame", "equinox"), FRAMES.values(), ids=FRAMES)
def test_every_frame_becomes_icrs(cards, frame, equinox):
    wcs = wcs_of(cards)
    x, y = np.array([0.0, 12.5, 399.0]), np.array([3.0, 200.0, 259.0])
    expected = SkyCoord(*wcs.all_pix2world(x, y, 0), unit="deg", frame=frame, **equinox)
    ra, dec = sky_of(wcs, x, y)
    assert expected.icrs.separation(SkyCoord(ra, dec, unit="deg")).arcsec.max() < 1e-6
    # were the axes taken for ra and dec, all of them would be far off
    assert SkyCoord(*wcs.all_pix2world(x, y, 0), unit="deg").separation(expected.icrs).arcsec.min() > 60
    assert np.stack(pixels_of(wcs, ra, dec)) == pytest.approx(np.stack([x, y]), abs=1e-5)


@pytest.mark.parametrize(
    "cards", [{}, {"RADESYS": "ICRS"}, {"RADESYS": "FK5", "EQUINOX": 2000.0}, {"EQUINOX": "J2000"}]
)
def test_icrs_and_j2000_are_left_alone(cards):
    wcs = wcs_of(TAN | cards)
    assert np.array_equal(
        sky_of(wcs, [5.0, 70.0], [9.0, 80.0]), wcs.all_pix2world([5.0, 70.0], [9.0, 80.0], 0)
    )


@pytest.mark.parametrize("cards", [TAN, SIP | {"A_2_0": 1e-5}, TPV | {"PV1_1": 1.01, "PV2_1": 0.99}])
def test_a_cube_of_bands_has_the_sky_of_its_planes(cards):
    size = {"NAXIS": 3, "NAXIS1": SHAPE[1], "NAXIS2": SHAPE[0], "NAXIS3": 3}
    third = {"WCSAXES": 3, "CTYPE3": "WAVE", "CRVAL3": 5e-7, "CRPIX3": 1.0, "CDELT3": 1e-7}
    expected = np.stack(sky_of(wcs_of(cards), 30.0, 40.0))
    for cube in (size | cards, size | third | cards):
        wcs, _ = read_wcs(fits.Header(cube))
        assert wcs is not None
        assert np.stack(sky_of(wcs, 30.0, 40.0)) == pytest.approx(expected, abs=1e-12)


def test_axes_the_other_way_round():
    swapped = TAN | {"CTYPE1": "DEC--TAN", "CTYPE2": "RA---TAN", "CRVAL1": -20.0, "CRVAL2": 40.0}
    wcs = wcs_of(swapped | {"CDELT1": 7.3e-5, "CDELT2": -7.3e-5})
    ra, dec = sky_of(wcs, 199.0, 129.0)
    assert (float(ra), float(dec)) == pytest.approx((40.0, -20.0))
    assert np.stack(pixels_of(wcs, *sky_of(wcs, 30.0, 40.0))) == pytest.approx([30.0, 40.0])
    assert sky_steps(wcs, 199.0, 129.0) == pytest.approx(np.array([[0, -7.3e-5], [7.3e-5, 0]]), abs=1e-10)


@pytest.mark.parametrize("dec", [-20.0, 89.9999, -90.0])
def test_steps_on_the_sky_are_those_of_the_pixels(dec):
    wcs = wcs_of(TAN | {"CRVAL2": dec})
    steps = sky_steps(wcs, 201.0, 131.0)
    assert np.hypot(*steps) == pytest.approx(7.3e-5, rel=1e-6)
    assert np.linalg.det(steps) == pytest.approx(-(7.3e-5**2), rel=1e-6)
    if dec == -20.0:
        assert steps == pytest.approx(np.diag([-7.3e-5, 7.3e-5]), abs=1e-9)


def test_what_a_distortion_brings_onto_the_image_from_afar_has_no_pixel():
    wcs = wcs_of(SIP | {"A_2_0": 5e-4, "B_0_2": 5e-4, "A_1_1": 3e-4})
    ra, dec = (c.ravel() for c in np.meshgrid(40 + np.linspace(-1, 1, 41), -20 + np.linspace(-1, 1, 41)))
    plain = np.stack(wcs.all_world2pix(ra, dec, 0, quiet=True))
    far = np.hypot((ra - 40) * np.cos(np.radians(20)), dec + 20) > 0.1  # the image reaches 0.02 deg
    on = (plain >= -0.5).all(axis=0) & (plain[0] < SHAPE[1]) & (plain[1] < SHAPE[0])
    assert (far & on).any()  # without the way back they would be targets
    x, y = pixels_of(wcs, ra, dec)
    assert np.isnan(x[far & on]).all()
    assert np.isnan(y[far & on]).all()
    near = ~far & on
    assert near.any()
    assert x[near] == pytest.approx(plain[0][near])


@given(st.lists(st.tuples(*[st.floats(allow_nan=True, allow_infinity=True)] * 2), max_size=5))
def test_no_position_raises_and_what_is_nowhere_is_nan(places):
    a, b = np.array(places, float).reshape(-1, 2).T
    for cards in (
        TAN,
        SIP | {"A_2_0": 1e-5},
        TPV | {"PV1_1": 1.01, "PV2_1": 0.99},
        *(cards for cards, *_ in FRAMES.values()),
    ):
        wcs = wcs_of(cards)
        for answer in (sky_of(wcs, a, b), pixels_of(wcs, a, b)):
            assert all(c.shape == a.shape and not np.isinf(c).any() for c in answer)
        x, y = pixels_of(wcs, a, b)
        assert ((np.abs(x) < 1e9) | (np.isnan(x) & np.isnan(y))).all()


def test_cells_are_numbered_and_what_has_no_place_has_none():
    ra = np.array([0.0, 360.0, 120.0, np.nan, 10.0, 10.0])
    dec = np.array([90.0, 90.0, -90.0, 0.0, np.nan, 91.0])
    cells = sky_cells(ra, dec)
    assert cells.dtype == np.int64
    assert cells[0] == cells[1] == NSIDE**2 - 1  # the northern corner of the first base cell
    assert cells[2] == 9 * NSIDE**2  # the southern corner of a base cell around the South pole
    assert list(cells[3:]) == [-1, -1, -1]
    assert len(sky_cells([], [])) == 0


def test_groups_of_the_sky_are_apart_from_those_of_simulated_hosts():
    ra, dec = np.array([10.0, 10.0, 10.5, np.nan]), np.array([-30.0, -30.0001, -30.0, 0.0])
    group = sky_groups(ra, dec, np.array([7, 8, 9, 10]))
    assert group[0] == group[1] < 0
    assert group[2] < 0
    assert group[2] != group[0]
    assert group[3] == 10
