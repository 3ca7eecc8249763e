"""What stands beside hosts: as many as counted, and the same in any batch."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table

from lenspipe.core.survey import load_survey
from lenspipe.simulate.field import STAR_DENSITY, draw_neighbours, draw_satellites, galaxy_density
from lenspipe.simulate.galaxies import count_brighter

DES = load_survey("des")
BANDS = ("g", "r", "i")


def test_field_has_the_surveys_counts():
    light = draw_neighbours(DES, 1, np.arange(2000), BANDS, 76)
    area = (76 * DES.pixel_scale / 60) ** 2
    lit = light.flux[..., 2] > 0
    stars = lit & (light.r_eff == 0)
    positions = np.where(lit, light.x, np.nan)
    objects = np.array(
        [len(np.unique(row[np.isfinite(row)])) for row in positions]
    )  # a bulge has its disc's place
    assert stars.sum() / 2000 == pytest.approx(STAR_DENSITY * area, rel=0.15)
    assert objects.mean() == pytest.approx((galaxy_density(DES) + STAR_DENSITY) * area, rel=0.05)
    assert np.abs(light.x).max() <= 0.5 * 76 * DES.pixel_scale


def test_neighbours_depend_on_the_sample_alone():
    whole, one = (draw_neighbours(DES, 1, np.array(ids), BANDS, 76) for ids in ([3, 8, 11], [8]))
    assert np.array_equal(whole.flux[1], one.flux[0])
    assert np.array_equal(whole.x[1], one.x[0])


def test_groups_have_members_and_early_types_sometimes_a_satellite():
    kinds = ["group"] * 300 + ["lens"] * 300 + ["star"] * 50
    truth = Table({"sample_id": np.arange(650), "kind": kinds})
    truth["x_lens"] = truth["y_lens"] = 0.0
    truth["r_lens"] = 1.0
    for band in BANDS:
        truth[f"mag_lens_{band}"] = 19.0
    count = np.count_nonzero(draw_satellites(1, truth, BANDS, 0.25).flux[..., 0], axis=1)
    assert count[:300].min() == 2
    assert count[:300].max() == 4
    assert np.mean(count[300:600] > 0) == pytest.approx(0.25, abs=0.07)
    assert np.all(count[600:] == 0)
    alone = draw_satellites(1, truth[300:600], BANDS, 0.0)
    assert np.all(alone.flux == 0)


@pytest.mark.parametrize(
    ("name", "faintest"), [("des", 24.3), ("lsst", 26.2), ("hst", 25.9), ("decam", 23.0)]
)
def test_neighbours_are_as_faint_as_the_survey_sees(name, faintest):
    survey = load_survey(name)
    bands = (survey.detection_band,)
    size = round(120.0 / survey.pixel_scale)  # arcsec: enough of them
    light = draw_neighbours(survey, 1, np.arange(20), bands, size)
    objects: dict = {}  # a bulge has its disc's place
    for x, r_eff, flux in zip(light.x.ravel(), light.r_eff.ravel(), light.flux.ravel(), strict=True):
        if flux > 0.0 and r_eff > 0.0:
            objects[x] = objects.get(x, 0.0) + flux
    magnitudes = 31.4 - 2.5 * np.log10(list(objects.values()))
    assert np.percentile(magnitudes, 90) == pytest.approx(faintest, abs=0.3)
    assert galaxy_density(survey) == pytest.approx(count_brighter(faintest), rel=0.12)
