"""The realism probe from end to end: simulated tiles, taken for real ones, against their twins."""

from __future__ import annotations

import numpy as np
import pytest

from lenspipe.config import TilesSection, config_from
from lenspipe.core.errors import InputError
from lenspipe.core.survey import load_survey
from lenspipe.simulate.tiles import draw_sky, render_tile, write_tile
from lenspipe.stages.realism import compare_with_sky, describe_realism, simulated_twin

FIELD = {"galaxies_per_arcmin2": 30, "stars_per_arcmin2": 5}


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    """A tile with another seeing, noise and correlation than its survey's, without weights."""
    folder = tmp_path_factory.mktemp("field")
    survey = load_survey("des")
    bands = {
        name: band.model_copy(update={"psf_fwhm": 1.2, "psf_scatter": 0.0})
        for name, band in survey.bands.items()
    }
    survey = survey.model_copy(update={"bands": bands, "noise_correlation": (0.15,)})
    tiles = TilesSection(count=1, size=700, lenses=0, **FIELD)
    tile = render_tile(survey, 9, 0, draw_sky(survey, 9, tiles, ("g", "i")), tiles, ("g", "i"))
    write_tile(folder, survey, tile, weights=False)
    return folder, tile


def recipe(folder):
    ingest = {"images": [str(folder)], "bands": ["g", "i"], "size": 40}
    return config_from({"survey": "des", "ingest": ingest, "simulate": {"tiles": FIELD}})


@pytest.mark.slow
def test_a_simulated_field_cannot_be_told_from_its_twin(field):
    found = compare_with_sky(recipe(field[0]))
    assert found["n_real"] == found["n_simulated"] >= 60
    assert found["linear"] < 0.75
    assert found["network"] < 0.75
    lines = describe_realism(found, 3)
    assert lines[1].startswith("linear probe")
    assert len(lines) == 8
    assert found["survey"].bands["i"].psf_fwhm == pytest.approx(1.2, rel=0.1)


def test_the_twin_has_the_field_s_noise_and_correlation(field):
    folder, tile = field
    twin, pixels, weighted = simulated_twin(recipe(folder))
    assert not weighted
    assert pixels == pytest.approx(700**2, rel=0.01)
    assert twin.noise_correlation[0] == pytest.approx(0.15, abs=0.03)
    sigma = 1 / np.sqrt(np.median(tile["weight"][..., 1]))
    assert twin.bands["i"].sky_sigma(twin.pixel_scale) == pytest.approx(sigma, rel=0.2)


def test_an_image_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "odd_i.fits").write_bytes(b"not fits")
    with pytest.raises(InputError, match="odd cannot be compared"):
        compare_with_sky(recipe(tmp_path))
