"""Mock tiles: objects where the truth says, overlaps that agree, files that other readers understand."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

from lenspipe.config import FULL, PLAIN, TilesSection
from lenspipe.core.errors import ConfigError
from lenspipe.core.survey import load_survey
from lenspipe.imaging.noise import find_empty
from lenspipe.simulate.colours import flux_njy
from lenspipe.simulate.measure import measure_arcs
from lenspipe.simulate.parts import galaxy_scene, move_lenses
from lenspipe.simulate.render import render
from lenspipe.simulate.strip import LENS_SEPARATION, noise_at, seeing_at
from lenspipe.simulate.tiles import (
    BAD,
    SATURATED,
    _arcs_side,
    _sources,
    cut_tile,
    draw_sky,
    mock_spectroscopy,
    render_tile,
    tile_wcs,
    write_tile,
)

DES = load_survey("des")
BANDS = ("g", "i")
TILES = TilesSection(count=2, size=240, overlap=25.0, lenses=2, galaxies_per_arcmin2=12, stars_per_arcmin2=2)


@pytest.fixture(scope="module")
def sky():
    return draw_sky(DES, 1, TILES, BANDS)


@pytest.fixture(scope="module")
def both(sky):
    return [render_tile(DES, 1, k, sky, TILES, BANDS) for k in range(2)]


def test_sky_holds_what_was_asked(sky):
    kinds = np.asarray(sky["kind"])
    assert np.count_nonzero(kinds == "lens") == 4
    area = (63.12 + 38.12 + 20) * (63.12 + 20) / 3600
    assert np.count_nonzero(kinds == "galaxy") == pytest.approx(12 * area, rel=0.15)
    assert np.count_nonzero(kinds == "star") == pytest.approx(2 * area, abs=3)
    assert np.unique(sky["object_id"]).size == len(sky)
    lenses = sky[kinds == "lens"]
    places = SkyCoord(lenses["ra"], lenses["dec"], unit="deg")
    distances = places[:, None].separation(places[None, :]).arcsec[np.triu_indices(4, 1)]
    assert distances.min() > 0.99 * LENS_SEPARATION
    assert np.all(lenses["snr"] >= 20)
    assert np.all(np.isnan(sky["theta_e"][kinds != "lens"]))
    covered = np.zeros(4, bool)
    for k in range(2):  # every lens lies on a tile
        x, y = tile_wcs(DES, TILES, k).all_world2pix(lenses["ra"], lenses["dec"], 0)
        covered |= (x > 20) & (x < 220) & (y > 20) & (y < 220)
    assert np.all(covered)


def test_objects_lie_where_the_truth_says(sky, both):
    """Centroids of well-detected objects, measured on the pixels, against the catalog."""
    bright = sky[(np.asarray(sky["mag_lens_i"]) < 21.5) & (np.asarray(sky["kind"]) != "lens")]
    everything = SkyCoord(sky["ra"], sky["dec"], unit="deg")
    checked = 0
    for tile in both:
        x, y = tile["wcs"].all_world2pix(bright["ra"], bright["dec"], 0)
        for k in range(len(bright)):
            here = SkyCoord(bright["ra"][k], bright["dec"][k], unit="deg")
            apart = np.sort(everything.separation(here).arcsec)[1]
            c, r = round(float(x[k])), round(float(y[k]))
            if apart < 3 or not (8 <= c < 232 and 8 <= r < 232):
                continue
            cut = np.maximum(tile["flux"][r - 4 : r + 5, c - 4 : c + 5, 1], 0)
            if np.any(tile["mask"][r - 4 : r + 5, c - 4 : c + 5, 1]):
                continue
            grid = np.arange(-4, 5)
            assert (cut.sum(axis=0) * grid).sum() / cut.sum() == pytest.approx(x[k] - c, abs=0.5)
            assert (cut.sum(axis=1) * grid).sum() / cut.sum() == pytest.approx(y[k] - r, abs=0.5)
            checked += 1
    assert checked >= 3


def test_overlapping_tiles_show_the_same_sky_under_other_noise(sky, both):
    shift = round((63.12 - 25.0) / DES.pixel_scale)  # 145 px: East is left, so tile 1 lies to the left
    one, two = both[0]["flux"][:, : 240 - shift, 1], both[1]["flux"][:, shift:, 1]
    good = (both[0]["mask"][:, : 240 - shift, 1] == 0) & (both[1]["mask"][:, shift:, 1] == 0)
    noise = DES.bands["i"].sky_sigma(DES.pixel_scale)
    faint = good & (np.abs(one) < 5 * noise) & (np.abs(two) < 5 * noise)
    weight = np.stack([both[0]["weight"][:, : 240 - shift, 1], both[1]["weight"][:, shift:, 1]])[:, faint]
    pull = (one - two)[faint] / np.sqrt((1 / weight).sum(axis=0))
    assert pull.std() == pytest.approx(1, rel=0.1)  # two independent noises
    bright = good & (one > 20 * noise)
    assert bright.sum() > 20
    assert np.corrcoef(one[bright], two[bright])[0, 1] > 0.9


def test_total_flux_of_the_tile_is_that_of_its_objects(sky, both):
    tile = both[0]
    x, y = tile["wcs"].all_world2pix(sky["ra"], sky["dec"], 0)
    inside = (x > -0.5) & (x < 239.5) & (y > -0.5) & (y < 239.5)
    flux = flux_njy(sky["mag_lens_i"]) + flux_njy(sky["mag_src_i"]) * np.nan_to_num(
        np.asarray(sky["mu"]), nan=0.0
    )
    assert tile["flux"][..., 1].sum() == pytest.approx(flux[inside].sum(), rel=0.15)


def test_bad_pixels_have_no_weight(both):
    for tile in both:
        bad = (tile["mask"] & BAD) > 0
        assert 0.003 < bad.mean() < 0.01  # one column of 240 and a few pixels
        assert np.all((tile["weight"] == 0) == bad)
        assert np.all(np.isfinite(tile["flux"]))
        assert tile["psf"].sum(axis=(0, 1)) == pytest.approx([1, 1], abs=0.005)


def test_bright_stars_saturate(sky):
    one = sky[np.asarray(sky["kind"]) == "star"][:1].copy()
    one["ra"], one["dec"], one["mag_lens_i"] = 30.0, -30.0, 14.0
    tile = render_tile(DES, 1, 0, one, TILES, BANDS)
    saturated = (tile["mask"][..., 1] & SATURATED) > 0
    assert saturated[118:122, 118:122].any()
    rows, columns = np.nonzero(saturated)
    assert np.ptp(rows) > 2 * np.ptp(columns)  # the charge bled along the columns
    assert 4 < np.ptp(columns) < 40
    assert tile["flux"][..., 1].max() == pytest.approx(DES.saturation(BANDS)[1])


def test_the_wings_of_bright_stars_do_not_end_in_a_square(sky):
    star = sky[np.asarray(sky["kind"]) == "star"][:1].copy()
    star["ra"], star["dec"] = 30.0, -30.0
    for band in BANDS:
        star[f"mag_lens_{band}"] = 13.0
    empty = star.copy()
    for band in BANDS:
        empty[f"mag_lens_{band}"] = 40.0
    seen, nothing = (render_tile(DES, 1, 0, one, TILES, BANDS)["flux"] for one in (star, empty))
    for b, band in enumerate(BANDS):
        wing = (seen - nothing)[120, 120 + np.array([22, 23, 26, 27, 40]), b]
        noise = DES.bands[band].sky_sigma(DES.pixel_scale)
        beta = DES.bands[band].psf_beta
        # it falls as a power of the radius, from inside the small stamp's edge (24 px) to far outside
        assert wing[0] > noise
        assert wing[3] / wing[0] == pytest.approx((27 / 22) ** (-2 * beta), rel=0.35)
        assert wing[4] > 0


def test_files(tmp_path, sky, both):
    paths = write_tile(tmp_path, DES, both[1])
    assert [p.name for p in paths] == ["mock001_g.fits", "mock001_i.fits"]
    with fits.open(paths[1]) as hdus:
        assert [hdu.name for hdu in hdus[1:]] == ["SCI", "WGT", "MSK", "PSF"]
        header = hdus["SCI"].header
        assert (header["BAND"], header["MAGZERO"]) == ("i", 30.0)
        assert header["PSF_FWHM"] == pytest.approx(both[1]["psf_fwhm"][1])
        njy = 10 ** (0.4 * (31.4 - 30.0))
        assert hdus["SCI"].data * njy == pytest.approx(both[1]["flux"][..., 1], rel=1e-5, abs=1e-4)
        sigma = DES.bands["i"].sky_sigma(DES.pixel_scale)
        weight = hdus["WGT"].data
        assert 1 / np.sqrt(np.median(weight[weight > 0])) * njy == pytest.approx(sigma, rel=0.2)
        assert weight == pytest.approx(both[1]["weight"][..., 1] * njy**2, rel=1e-5)
        wcs = WCS(header)
        x, y = wcs.all_world2pix(sky["ra"], sky["dec"], 0)
        expected = both[1]["wcs"].all_world2pix(sky["ra"], sky["dec"], 0)
        assert np.array([x, y]) == pytest.approx(np.array(expected), abs=1e-3)
    again = write_tile(tmp_path / "again", DES, both[1])
    assert again[0].read_bytes() == paths[0].read_bytes()
    (bare, _) = write_tile(tmp_path / "bare", DES, both[1], weights=False)
    with fits.open(bare) as hdus:
        assert [hdu.name for hdu in hdus[1:]] == ["SCI", "MSK", "PSF"]
    assert not list(tmp_path.glob(".*"))


def test_seeing_and_depth_vary_smoothly_about_the_survey_s():
    ra, dec = np.meshgrid(30 + np.linspace(0, 2, 200), -30 + np.linspace(0, 2, 200))
    for quantity, usual in (
        (seeing_at(DES, 1, "i", ra, dec), 0.88),
        (noise_at(DES, 1, "i", ra, dec), DES.bands["i"].sky_sigma(DES.pixel_scale)),
    ):
        spread = np.log(quantity / usual)
        assert abs(spread.mean()) < 0.02
        assert 0.02 < spread.std() < 0.08
    near = seeing_at(DES, 1, "i", np.array([30.0, 30.0 + 5 / 3600]), np.full(2, -30.0))
    assert near[1] == pytest.approx(near[0], rel=0.02)  # 5 arcsec apart


def test_noise_is_correlated_where_the_survey_says_so(sky):
    white, coadd = (DES.model_copy(update={"noise_correlation": values}) for values in ((), (0.2,)))
    empty = sky[:0]
    plain, smooth = (render_tile(survey, 1, 0, empty, TILES, BANDS)["flux"] for survey in (white, coadd))
    assert smooth.std() == pytest.approx(plain.std(), rel=0.03)
    for flux, expected in ((plain, 0.0), (smooth, 0.2)):
        good = flux[:, :, 1]
        assert np.corrcoef(good[:, 1:].ravel(), good[:, :-1].ravel())[0, 1] == pytest.approx(
            expected, abs=0.02
        )


def test_some_galaxies_stand_close_together():
    wide = TilesSection(count=1, size=1000, lenses=0, galaxies_per_arcmin2=30, stars_per_arcmin2=0)
    places = draw_sky(DES, 1, wide, BANDS)
    place = SkyCoord(places["ra"], places["dec"], unit="deg")
    pairs = place[:, None].separation(place[None, :]).arcsec[np.triu_indices(len(place), 1)]
    near, far = np.count_nonzero(pairs < 10), np.count_nonzero((pairs > 60) & (pairs < 61))
    expected = far * 10**2 / (61**2 - 60**2)  # of a uniform field, edges left aside
    assert near > 1.25 * expected


def test_lenses_in_tiles_are_as_magnified_and_bright_as_the_truth_says(sky):
    lenses = sky[np.asarray(sky["kind"]) == "lens"]
    off = move_lenses(lenses, 0.4 * DES.pixel_scale, -0.3 * DES.pixel_scale)  # between the pixels
    light = render(galaxy_scene(off, BANDS), 77, DES.pixel_scale)[0]
    arcs = render(_sources(off, BANDS, 1, FULL), 77, DES.pixel_scale)[1]
    gain = np.array([DES.bands[band].electrons_per_njy() for band in BANDS])
    for name, values in measure_arcs(DES, off, BANDS, light, arcs, gain).items():
        assert np.asarray(lenses[name]) == pytest.approx(values, rel=0.04), name
    smooth = render(_sources(off, BANDS, 1, PLAIN), 77, DES.pixel_scale)[1]
    assert np.max(np.abs(arcs - smooth), axis=(1, 2, 3)).min() > 1.0  # nJy: the tile draws the knots


def test_arcs_of_wide_lenses_are_not_cut(sky):
    wide = sky.copy()
    wide["theta_e"] = 3.0 * sky["theta_e"]
    usual, larger = _arcs_side(DES, sky, BANDS), _arcs_side(DES, wide, BANDS)
    assert usual >= 2 * 6.5 / DES.pixel_scale - 1
    lens = np.asarray(sky["kind"]) == "lens"
    assert 0.5 * larger * DES.pixel_scale > np.max(wide["theta_e"][lens]) + 2.0


def test_same_seed_same_tile(sky, both):
    again = render_tile(DES, 1, 1, sky, TILES, BANDS)
    assert again["flux"] == pytest.approx(both[1]["flux"], rel=1e-5, abs=1e-2)


def test_spectroscopy(sky):
    table = mock_spectroscopy(sky, 1)
    lenses = sky[np.asarray(sky["kind"]) == "lens"]
    assert len(table) == 4
    assert np.asarray(table["z_src"]) == pytest.approx(np.asarray(lenses["z_src"]))
    assert np.asarray(table["sigma_v_err"]) == pytest.approx(0.07 * np.asarray(lenses["sigma_v"]))
    pull = (table["sigma_v"] - lenses["sigma_v"]) / table["sigma_v_err"]
    assert np.all(np.abs(pull) < 5)
    assert np.all(pull != 0)


def test_a_sky_without_lenses_can_be_drawn():
    barren = TilesSection(count=1, size=128, lenses=0, stars_per_arcmin2=0)
    sky = draw_sky(DES, 1, barren, BANDS)
    assert set(sky["kind"]) == {"galaxy"}
    assert np.all(np.isfinite(render_tile(DES, 1, 0, sky, barren, BANDS)["flux"]))
    assert len(mock_spectroscopy(sky, 1)) == 0


def test_no_room_is_the_users_mistake():
    crowded = TilesSection(count=1, size=128, lenses=500)
    with pytest.raises(ConfigError, match="no room for 500 lenses"):
        draw_sky(DES, 1, crowded, BANDS)
    with pytest.raises(ConfigError, match="overlap"):
        tile_wcs(DES, TilesSection(count=2, size=128, overlap=100.0), 1)


def test_empty_sky_is_zero_as_a_pipeline_leaves_it(both):
    for tile in both:
        for b in range(len(BANDS)):
            empty = find_empty(tile["flux"][..., b])
            sigma = 1 / np.sqrt(np.median(tile["weight"][..., b]))
            assert abs(tile["flux"][..., b][empty].mean()) < 0.01 * sigma


def test_a_tile_is_cut_into_images_that_keep_their_sky(both):
    tile = both[0]
    pieces = cut_tile(tile, (100, 90))
    height, width = tile["flux"].shape[:2]
    assert len(pieces) == (height // 100) * (width // 90)
    assert len({piece["name"] for piece in pieces}) == len(pieces)
    second = pieces[1]
    assert np.array_equal(second["flux"], tile["flux"][:100, 90:180])
    assert np.array_equal(second["weight"], tile["weight"][:100, 90:180])
    assert second["wcs"].pixel_to_world(0, 0).separation(tile["wcs"].pixel_to_world(90, 0)).arcsec < 1e-6
