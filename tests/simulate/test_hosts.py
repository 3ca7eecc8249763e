"""Which real galaxies are taken for lens galaxies, and which are not."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lenspipe.core.survey import load_survey
from lenspipe.simulate.colours import flux_njy
from lenspipe.simulate.hosts import describe_hosts, draw_reference, spread_out
from lenspipe.simulate.inject import inject
from tests.simulate.test_inject import BANDS, SIZE, galaxies_like

DES = load_survey("des")


@pytest.fixture(scope="module")
def reference():
    return draw_reference(DES, 1, BANDS, count=600)


def test_galaxies_of_the_population_are_recognised(reference):
    stamps, hosts = galaxies_like(reference[:24])
    seen = describe_hosts(stamps, DES, reference)
    assert np.mean(np.asarray(seen["reason"]) == "") > 0.7
    difference = np.asarray(seen["mag_lens_i"]) - np.asarray(hosts["mag_lens_i"])
    assert abs(np.nanmedian(difference)) < 0.15
    assert np.nanmedian(np.abs(seen["x_lens"] - hosts["x_lens"])) < 0.05
    assert len(describe_hosts(stamps.take(np.arange(0)), DES, reference)) == 0


def test_stars_are_left_out_however_wide_their_wings(reference):
    """A star of a lens galaxy's brightness and colours, seen through a Moffat PSF, seems to have a size."""
    beta = 1.8
    bands = {name: band.model_copy(update={"psf_beta": beta}) for name, band in DES.bands.items()}
    survey = DES.model_copy(update={"bands": bands})
    stamps, hosts = galaxies_like(reference[:24])
    place = np.arange(-SIZE // 2 + 1, SIZE // 2 + 1) * DES.pixel_scale
    r = np.hypot(*np.meshgrid(place, place))[None, :, :, None]
    alpha = stamps.psf_fwhm[:, None, None, :] / (2 * np.sqrt(2 ** (1 / beta) - 1))
    shape = (1 + (r / alpha) ** 2) ** -beta
    flux = np.stack([flux_njy(hosts[f"mag_lens_{band}"]) for band in BANDS], axis=-1)
    light = flux[:, None, None, :] * shape / shape.sum(axis=(1, 2), keepdims=True)
    noise = np.random.default_rng(1).standard_normal(light.shape) * stamps.noise_sigma[:, None, None, :]
    stars = dataclasses.replace(stamps, image=(light + noise).astype(np.float32))
    reasons = np.asarray(describe_hosts(stars, survey, reference)["reason"])
    assert np.mean(reasons == "") < 0.05
    assert np.mean(reasons == "no larger than the PSF: a star") > 0.9


def test_blue_galaxies_and_empty_sky_are_left_out_with_a_reason(reference):
    stamps, _ = galaxies_like(reference[:3])
    blue = stamps.image[:2] * np.array([8.0, 1.0], np.float32)
    noise = np.random.default_rng(2).standard_normal(stamps.image[:1].shape) * stamps.noise_sigma[0]
    odd = np.concatenate([blue, (noise - 3 * stamps.noise_sigma[0]).astype(np.float32)])
    out, arcs, truth = inject(dataclasses.replace(stamps, image=odd), DES, 1, range(3), reference)
    assert np.array_equal(out, odd)
    assert not arcs.any()
    assert list(truth["kind"]) == ["galaxy"] * 3
    assert truth["reason"][0].startswith("no lens galaxy looks like it: chi2 ")
    assert truth["reason"][2] == "no galaxy in the middle"
    assert np.all(np.isnan(truth["theta_e"]))


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), max_size=30))
def test_positions_that_are_kept_stand_apart_and_the_others_do_not(places):
    x, y = np.array(places, float).reshape(-1, 2).T
    kept = spread_out(x, y, 13.0)
    distance = np.hypot(x[:, None] - x[kept], y[:, None] - y[kept])
    if len(x):
        assert kept[0] == 0
        assert np.all(np.min(np.where(np.arange(len(x))[:, None] == kept, 0.0, distance), axis=1) < 13.0)
        assert np.all(distance[kept][~np.eye(len(kept), dtype=bool)] >= 13.0)
    else:
        assert not len(kept)
