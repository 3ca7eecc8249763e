"""The realism probe from end to end: simulated tiles, taken for real ones, against their twins."""

from __future__ import annotations

import numpy as np
import pytest

from lenspipe.config import TilesSection, config_from
from lenspipe.core.errors import InputError
from lenspipe.core.survey import load_survey
from lenspipe.io.layout import group_files
from lenspipe.simulate.tiles import cut_tile, draw_sky, render_tile, write_tile
from lenspipe.stages.realism import _band_like, compare_with_sky, describe_realism, simulated_twin
from lenspipe.stages.stamps import stamp_format

FIELD = {"galaxies_per_arcmin2": 30, "stars_per_arcmin2": 5}


def draw_tile(size, **changes):
    """Return a tile with another seeing than its survey's, and what else is changed."""
    survey = load_survey("des")
    bands = {
        name: band.model_copy(update={"psf_fwhm": 1.2, "psf_scatter": 0.0})
        for name, band in survey.bands.items()
    }
    survey = survey.model_copy(update={"bands": bands, **changes})
    tiles = TilesSection(count=1, size=size, lenses=0, **FIELD)
    return survey, render_tile(survey, 9, 0, draw_sky(survey, 9, tiles, ("g", "i")), tiles, ("g", "i"))


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    """A tile with another seeing, noise and correlation than its survey's, without weights."""
    folder = tmp_path_factory.mktemp("field")
    survey, tile = draw_tile(900, noise_correlation=(0.15,))
    write_tile(folder, survey, tile, weights=False)
    return folder, tile


def recipe(folder, size=40, **cuts):
    ingest = {"images": [str(folder)], "bands": ["g", "i"], "size": size, "kind": "tile", **cuts}
    return config_from({"survey": "des", "ingest": ingest, "simulate": {"tiles": FIELD}})


def twin_of(folder):
    survey, config = load_survey("des"), recipe(folder)
    image_set = group_files(sorted(map(str, folder.glob("*.fits"))), survey)[0]
    return simulated_twin(image_set, survey, stamp_format(config), config)


@pytest.mark.slow
def test_a_simulated_field_cannot_be_told_from_its_twin(field):
    found = compare_with_sky(recipe(field[0]))
    assert found["n_real"] == found["n_simulated"] >= 60
    assert found["linear"] < 0.75
    assert found["network"] < 0.75
    lines = describe_realism(found, 3)
    assert lines[1].startswith("linear probe")
    assert len(lines) == 8
    assert "stars 2" in lines[0]
    assert found["twins"][0].survey.bands["i"].psf_fwhm == pytest.approx(1.2, rel=0.1)


def test_the_twin_has_the_field_s_noise_and_correlation(field):
    folder, tile = field
    twin = twin_of(folder)
    assert not twin.weighted
    assert (twin.shape, twin.pieces()) == ((900, 900), (1, 1))
    for table in twin.survey.correlations(("g", "i")):
        assert table[0][1] == pytest.approx(0.15, abs=0.03)
        assert table[1][1] == pytest.approx(0.15**2, abs=0.03)
    sigma = 1 / np.sqrt(np.median(tile["weight"][..., 1]))
    assert twin.survey.bands["i"].sky_sigma(twin.survey.pixel_scale) == pytest.approx(sigma, rel=0.2)


@pytest.fixture(scope="module")
def blends(tmp_path_factory):
    """Four images of 150 pixels a side, whose noise is correlated as their survey says: they are too small to tell."""
    folder = tmp_path_factory.mktemp("blends")
    survey, tile = draw_tile(300)
    for piece in cut_tile(tile, (150, 150)):
        write_tile(folder, survey, piece)
    return folder


def test_the_twin_of_a_small_image_is_small_and_takes_what_cannot_be_measured_from_elsewhere(blends):
    twin = twin_of(blends)
    assert twin.weighted
    assert (twin.shape, twin.pieces()) == ((150, 150), (6, 6))
    assert set(twin.psf_from.values()) == {"psf image"}
    assert twin.survey.bands["g"].psf_fwhm == pytest.approx(1.2, rel=0.05)
    assert twin.survey.correlations(("g",)) == [load_survey("des").noise_correlation]


@pytest.mark.slow
def test_a_few_small_images_are_compared_too(blends):
    found = compare_with_sky(recipe(blends, 20, max_mag=23.5))
    assert 12 <= found["n_real"] < 100
    assert found["n_simulated"] == 4 * found["n_real"]
    assert found["linear"] < 0.5 + 3 * found["linear_err"] + 0.1
    assert "not trained: too few stamps" in describe_realism(found)[2]


def test_an_image_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "odd_i.fits").write_bytes(b"not fits")
    with pytest.raises(InputError, match="odd cannot be compared"):
        compare_with_sky(recipe(tmp_path))


def test_a_twin_s_single_exposure_holds_what_the_survey_s_exposures_hold():
    """Its sky is that of the whole coadd, or more: of HSC's it alone would fill a pixel."""
    band = load_survey("hsc").bands["g"]
    twin = _band_like(band, 0.8, 2.5, sigma=20.0 * band.sky_sigma(0.168), scale=0.168)
    assert twin.saturation(0.168) == pytest.approx(band.saturation(0.168), rel=1e-6)
    assert twin.sky_sigma(0.168) == pytest.approx(20.0 * band.sky_sigma(0.168), rel=1e-6)
