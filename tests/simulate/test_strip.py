"""The mock strip of sky: tiles side by side, objects apart from lenses, clustering, and its refusals."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from scipy.spatial import cKDTree

from lenspipe.config import FULL, PLAIN, TilesSection
from lenspipe.core.errors import ConfigError
from lenspipe.core.survey import load_survey
from lenspipe.simulate.colours import flux_njy
from lenspipe.simulate.field import draw_satellites
from lenspipe.simulate.measure import expect_arcs
from lenspipe.simulate.scene import source_light
from lenspipe.simulate.strip import (
    CLEARANCE,
    DEC0,
    RA0,
    SPECTROSCOPY_ERROR,
    draw_sky,
    lens_seed,
    mock_spectroscopy,
    noise_at,
    seeing_at,
    tile_name,
    tile_wcs,
)

DES = load_survey("des")
BANDS = ("g", "i")
TILES = TilesSection(count=3, size=400, overlap=20.0, lenses=3, galaxies_per_arcmin2=30, stars_per_arcmin2=2)


@pytest.fixture(scope="module")
def sky():
    return draw_sky(DES, 4, TILES, BANDS)


def places(table):
    return SkyCoord(table["ra"], table["dec"], unit="deg")


def test_neighbouring_tiles_overlap_by_what_was_asked():
    one, two = (tile_wcs(DES, TILES, index) for index in (0, 1))
    x, y = two.all_world2pix(*one.all_pix2world([0.0], [199.5], 0), 0)
    # East is left: the first tile's left edge lies in the second, the overlap off its right one
    assert (399.5 - x[0]) * DES.pixel_scale == pytest.approx(20.0, abs=0.3)
    assert y[0] == pytest.approx(199.5, abs=0.5)
    assert one.wcs.cdelt[0] < 0 < one.wcs.cdelt[1]
    assert [tile_name(k) for k in (0, 12)] == ["mock000", "mock012"]


def test_nothing_stands_in_front_of_a_lens(sky):
    kinds = np.asarray(sky["kind"])
    lenses, field = sky[kinds == "lens"], sky[np.isin(kinds, ["galaxy", "star"])]
    assert len(lenses) == 9
    apart = places(lenses)[:, None].separation(places(field)[None, :]).arcsec
    assert apart.min() > 0.99 * CLEARANCE
    assert apart.min() < 2.5 * CLEARANCE  # and the field is no emptier than that


def test_lenses_are_as_real_as_those_of_training_stamps(sky):
    lenses = sky[np.asarray(sky["kind"]) == "lens"]
    assert np.all(lenses["q_light"] != lenses["q"])
    assert len(np.unique(lenses["n_lens"])) > 3
    many = TILES.model_copy(update={"size": 1200, "lenses": 30})
    for share, expected in ((0.25, 0.25), (0.0, 0.0)):
        drawn = draw_sky(DES, 4, many, BANDS, effects=FULL.model_copy(update={"satellites": share}))
        kinds = np.asarray(drawn["kind"])
        lenses, satellites = drawn[kinds == "lens"], drawn[kinds == "satellite"]
        apart = places(satellites)[:, None].separation(places(lenses)[None, :]).arcsec
        assert len(lenses) == 90
        assert len(np.unique(np.argmin(apart, axis=1))) / 90 == pytest.approx(expected, abs=0.12)


def test_satellites_stand_where_stamps_have_them_north_up_and_east_left():
    many = TILES.model_copy(update={"size": 1200, "lenses": 30})
    sky = draw_sky(DES, 4, many, BANDS)
    kinds = np.asarray(sky["kind"])
    lenses, satellites = sky[kinds == "lens"], sky[kinds == "satellite"]
    light = draw_satellites(lens_seed(4), lenses, BANDS, FULL.satellites)
    owner, number = np.nonzero(light.flux[..., 1])
    host = lenses[owner]
    east = (satellites["ra"] - host["ra"]) * 3600.0 * np.cos(np.radians(DEC0))
    assert np.asarray(east) == pytest.approx(-light.x[owner, number], abs=1e-6)
    north = (satellites["dec"] - host["dec"]) * 3600.0
    assert np.asarray(north) == pytest.approx(light.y[owner, number], abs=1e-6)
    assert flux_njy(satellites["mag_lens_i"]) == pytest.approx(light.flux[owner, number, 1])


def test_plain_lenses_have_nothing_of_it():
    sky = draw_sky(DES, 4, TILES, BANDS, effects=PLAIN)
    lenses = sky[np.asarray(sky["kind"]) == "lens"]
    assert np.array_equal(lenses["q_light"], lenses["q"])
    assert set(lenses["n_lens"]) == {4.0}
    assert "satellite" not in sky["kind"]


def test_what_the_truth_says_of_a_lens_is_true_at_its_place(sky):
    lenses = sky[np.asarray(sky["kind"]) == "lens"]
    source = source_light(lens_seed(4), lenses, BANDS, clumpy=True)
    for name, values in expect_arcs(DES, lenses, BANDS, source).items():
        assert np.asarray(lenses[name]) == pytest.approx(values, rel=1e-9), name
    assert np.all(lenses["snr"] >= 20.0)
    smooth = expect_arcs(DES, lenses, BANDS, source_light(lens_seed(4), lenses, BANDS, clumpy=False))
    assert np.std(smooth["snr"] / lenses["snr"]) > 0.02


def test_galaxies_are_clustered_and_stars_are_not():
    wide = TilesSection(
        count=3, size=8000, overlap=0.0, lenses=0, galaxies_per_arcmin2=2, stars_per_arcmin2=2
    )
    sky = draw_sky(DES, 5, wide, BANDS)
    pairs = {}
    for kind in ("galaxy", "star"):
        rows = sky[np.asarray(sky["kind"]) == kind]
        x, y = (rows["ra"] - RA0) * 3600.0 * np.cos(np.radians(DEC0)), (rows["dec"] - DEC0) * 3600.0
        count = len(cKDTree(np.transpose([x, y])).query_pairs(6.0))
        by_chance = 0.5 * len(rows) * 2.0 * np.pi * 0.1**2
        pairs[kind] = count / by_chance
    assert pairs["star"] == pytest.approx(1.0, abs=0.25)  # 230 pairs
    assert pairs["galaxy"] == pytest.approx(1.6, abs=0.3)  # three in ten near another one, as r^-0.8


def test_the_sky_is_its_seeds_and_its_tiles_agree_on_it(sky):
    again = draw_sky(DES, 4, TILES, BANDS)
    for name in sky.colnames:
        a, b = np.asarray(sky[name]), np.asarray(again[name])
        assert np.array_equal(a, b, equal_nan=a.dtype.kind == "f"), name
    other = draw_sky(DES, 6, TILES, BANDS)
    assert not np.any(np.isin(other["ra"], sky["ra"]))
    for name, quantity in (("psf_fwhm_i", seeing_at), ("sky_sigma_i", noise_at)):
        assert np.asarray(sky[name]) == pytest.approx(quantity(DES, 4, "i", sky["ra"], sky["dec"]))


def test_spectroscopy_is_of_the_lenses_with_its_error(sky):
    spectra = mock_spectroscopy(sky, 4)
    lenses = sky[np.asarray(sky["kind"]) == "lens"]
    assert list(spectra["object_id"]) == list(lenses["object_id"])
    assert np.array_equal(spectra["z_src"], lenses["z_src"])
    pull = np.concatenate(
        [
            (mock_spectroscopy(sky, seed)["sigma_v"] - lenses["sigma_v"]) / lenses["sigma_v"]
            for seed in range(60)
        ]
    )
    assert np.std(pull) == pytest.approx(SPECTROSCOPY_ERROR, rel=0.12)
    assert np.asarray(spectra["sigma_v_err"]) == pytest.approx(SPECTROSCOPY_ERROR * lenses["sigma_v"])


def test_impossible_strips_are_refused_with_the_setting_to_mend():
    with pytest.raises(ConfigError, match=r"overlap .* must be less than a tile's side"):
        tile_wcs(DES, TILES.model_copy(update={"overlap": 200.0}), 1)
    crowded = TILES.model_copy(update={"lenses": 500})
    with pytest.raises(ConfigError, match=r"no room for 1500 lenses .* lower simulate.tiles.lenses"):
        draw_sky(DES, 1, crowded, BANDS)


def test_a_strip_without_lenses_or_stars_is_a_strip():
    bare = TILES.model_copy(update={"lenses": 0, "stars_per_arcmin2": 0.0})
    sky = draw_sky(DES, 1, bare, BANDS)
    assert set(sky["kind"]) == {"galaxy"}
    assert np.all(np.isfinite(sky["psf_fwhm_g"]))
