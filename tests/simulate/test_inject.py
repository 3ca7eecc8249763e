"""Injection: what is painted is the lensed source and nothing else, with the local PSF, each time the same."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from astropy.table import Table

from lenspipe.config import config_from
from lenspipe.core.rng import uniforms
from lenspipe.core.survey import load_survey
from lenspipe.imaging.stamps import BEYOND, FILLED, mend_stamps
from lenspipe.io.layout import find_images, group_files
from lenspipe.io.shards import Shard
from lenspipe.simulate.colours import flux_njy
from lenspipe.simulate.hosts import draw_reference
from lenspipe.simulate.inject import inject
from lenspipe.simulate.morphology import CLUMP_UNIFORMS
from lenspipe.simulate.parts import galaxy_scene, source_scene
from lenspipe.simulate.render import render
from lenspipe.simulate.selection import MIN_MAGNIFICATION
from lenspipe.stages.pieces import read_whole
from lenspipe.stages.stamps import stamp_format

DES = load_survey("des")
BANDS = ("g", "i")
SIZE = 61
GAIN = np.array([DES.bands[band].electrons_per_njy() for band in BANDS])


@pytest.fixture(scope="module")
def reference():
    return draw_reference(DES, 1, BANDS, count=600)


@pytest.fixture(scope="module")
def stamps(reference) -> Shard:
    """Galaxies like those of the population, drawn alone, and their noise."""
    return galaxies_like(reference[:24])[0]


def galaxies_like(rows) -> tuple[Shard, Table]:
    hosts = rows.copy()
    for band in BANDS:
        hosts[f"bulge_{band}"] = 1.0
    hosts["r_bulge"] = hosts["r_lens"]
    light, _ = render(galaxy_scene(hosts, BANDS), SIZE, DES.pixel_scale)
    sigma = np.stack([hosts[f"sky_sigma_{band}"] for band in BANDS], axis=-1)
    noise = np.random.default_rng(1).standard_normal(light.shape) * sigma[:, None, None, :]
    fwhm = np.stack([hosts[f"psf_fwhm_{band}"] for band in BANDS], axis=-1)
    image = (light + noise).astype(np.float32)
    return Shard(image, sigma, BANDS, DES.pixel_scale, "des", 1, fwhm), hosts


@pytest.fixture(scope="module")
def painted(stamps, reference):
    return inject(stamps, DES, 1, np.arange(24), reference)


def test_arcs_are_as_bright_as_the_truth_says(painted):
    _, arcs, truth = painted
    done = np.asarray(truth["reason"]) == ""
    assert done.sum() > 12
    assert set(truth["kind"][done]) == {"lens"}
    expected = np.asarray(truth["mu"] * flux_njy(truth["mag_src_i"]))[done]
    assert arcs[done][..., 1].sum(axis=(1, 2)) == pytest.approx(expected, rel=0.01)
    assert np.all(truth["mu"][done] >= MIN_MAGNIFICATION)
    assert np.all(truth["snr"][done] >= 20)
    assert np.all(truth["z_src"][done] > truth["z_lens"][done])
    offset = np.hypot(truth["x_src"] - truth["x_lens"], truth["y_src"] - truth["y_lens"])[done]
    assert np.all(offset < truth["theta_e"][done])


def test_arcs_can_be_redrawn_from_the_truth_with_the_local_psf(painted):
    _, arcs, truth = painted
    rows = np.flatnonzero(np.asarray(truth["reason"]) == "")[:4]
    u = uniforms(1, "inject/clumps", np.asarray(truth["sample_id"])[rows], CLUMP_UNIFORMS)
    _, again = render(source_scene(truth[rows], BANDS, u), SIZE, DES.pixel_scale)
    assert np.max(np.abs(again - arcs[rows])) < 2e-3 * np.max(truth["sky_sigma_i"])
    wide = truth[rows].copy()
    wide["psf_fwhm_i"] = 2 * wide["psf_fwhm_i"]
    _, wide = render(source_scene(wide, BANDS, u), SIZE, DES.pixel_scale)
    assert np.all(wide[..., 1].max(axis=(1, 2)) < 0.8 * arcs[rows][..., 1].max(axis=(1, 2)))


def test_sources_are_clumpy_unless_that_is_off(stamps, reference, painted):
    _, smooth, truth = inject(stamps, DES, 1, np.arange(24), reference, clumps=False)
    done = (np.asarray(truth["reason"]) == "") & (np.asarray(painted[2]["reason"]) == "")
    rows = np.flatnonzero(done & (np.asarray(truth["x_src"]) == np.asarray(painted[2]["x_src"])))
    assert len(rows) > 6
    _, again = render(source_scene(truth[rows], BANDS), SIZE, DES.pixel_scale)
    assert np.max(np.abs(again - smooth[rows])) < 2e-3 * np.max(truth["sky_sigma_i"])
    # a quarter of the sources is smooth but for the bulge; the others differ by more than a tenth of the peak
    difference = np.abs(painted[1][rows] - smooth[rows]).max(axis=(1, 2, 3)) / smooth[rows].max(
        axis=(1, 2, 3)
    )
    assert np.mean(difference > 0.1) > 0.5
    # the truth is that of the light painted, knots and all
    assert not np.allclose(truth["mu"][rows], painted[2]["mu"][rows], rtol=1e-3)


def test_arcs_are_seen_through_the_image_s_own_psf(stamps, reference, painted):
    y, x = np.mgrid[-12:13, -12:13]
    star = np.exp(-(x**2 + y**2 + 0.7 * x * y) / 8.0)
    stars = np.full((1, 2, 25, 25), np.nan, np.float32)
    stars[0, 0] = star / star.sum()
    local = dataclasses.replace(stamps, psf_image=stars, psf_index=np.zeros(24, int))
    _, arcs, truth = inject(local, DES, 1, np.arange(24), reference)
    done = (np.asarray(truth["reason"]) == "") & (np.asarray(painted[2]["reason"]) == "")
    rows = np.flatnonzero(done & (np.asarray(truth["x_src"]) == np.asarray(painted[2]["x_src"])))
    assert len(rows) > 6
    # a band without an image keeps its profile, the other one has the image's shape
    assert arcs[rows][..., 1] == pytest.approx(painted[1][rows][..., 1], abs=1e-3)
    u = uniforms(1, "inject/clumps", np.asarray(truth["sample_id"])[rows], CLUMP_UNIFORMS)
    scene = source_scene(truth[rows], BANDS, u)
    both = np.broadcast_to(stars[:, :1], (len(rows), 2, 25, 25))
    _, again = render(dataclasses.replace(scene, psf_image=both), SIZE, DES.pixel_scale)
    assert np.max(np.abs(again - arcs[rows])[..., 0]) < 2e-3 * np.max(truth["sky_sigma_g"])
    assert np.max(np.abs(painted[1][rows] - arcs[rows])[..., 0]) > 0.02 * arcs[rows][..., 0].max()
    assert np.all(arcs >= 0)


def test_pixels_without_arcs_are_the_same_bits(stamps, painted):
    out, arcs, _ = painted
    same = out == stamps.image
    assert np.all(same[arcs == 0])
    assert 0.05 < np.mean(arcs > 0) < 0.7


def test_arcs_are_not_seen_where_a_pixel_could_not_be_used(stamps, painted, reference):
    mask = np.zeros(stamps.image.shape, np.uint8)
    mask[:, 20:23, :, 0], mask[:, :, :24, 1] = FILLED, BEYOND
    masked = dataclasses.replace(stamps, mask=mask)
    out, arcs, _ = inject(masked, DES, 1, np.arange(24), reference)
    assert np.array_equal(arcs, painted[1])
    assert np.array_equal(out[mask == 0], painted[0][mask == 0])
    added = out - stamps.image
    assert np.all(added[mask == BEYOND] == 0)
    bright = arcs.max(axis=(1, 2, 3)) > 0
    kept = mend_stamps(painted[0] - stamps.image, mask)
    assert added[bright] == pytest.approx(kept[bright], abs=1e-2)
    assert np.any(np.abs(kept - arcs)[mask == FILLED] > 1.0)


def test_the_arcs_have_their_own_poisson_noise(stamps, painted):
    out, arcs, _ = painted
    extra = out.astype(float) - stamps.image - arcs
    bright = arcs > 1.0
    pull = extra[bright] / np.sqrt(arcs / GAIN)[bright]
    assert pull.mean() == pytest.approx(0, abs=0.05)
    assert pull.std() == pytest.approx(1, abs=0.05)


def test_the_noise_follows_the_image_s_own_gain(stamps, reference):
    gain = np.broadcast_to([0.5, 200.0], (24, 2))
    local = dataclasses.replace(stamps, electrons_per_njy=gain)
    out, arcs, truth = inject(local, DES, 1, np.arange(24), reference)
    for b in (0, 1):
        bright = arcs[..., b] > 1.0
        extra = (out.astype(float) - stamps.image - arcs)[..., b][bright]
        expected = np.sum(arcs[..., b][bright]) / gain[0, b]
        # the variance of n Gaussians of unlike widths is known to sqrt(2 sum of their variances squared)
        error = np.sqrt(2 * np.sum((arcs[..., b][bright] / gain[0, b]) ** 2))
        assert bright.sum() > 1000
        assert abs(np.sum(extra**2) - expected) < 4 * error
        assert error < 0.1 * expected
    done = np.asarray(truth["reason"]) == ""
    assert done.any()


def test_a_sample_is_the_same_in_any_company(stamps, painted, reference):
    rows = np.array([7, 3])
    out, _, truth = inject(stamps.take(rows), DES, 1, rows, reference)
    for name in ("theta_e", "x_src", "mag_src_i", "z_src"):
        assert np.array_equal(truth[name], painted[2][name][rows], equal_nan=True)
    assert out == pytest.approx(painted[0][rows], rel=1e-4, abs=1e-3)


def test_companions_are_as_bright_and_not_lensed(stamps, painted, reference):
    _, beside, truth = inject(stamps, DES, 1, np.arange(24), reference, kind="companion")
    done = np.asarray(truth["reason"]) == ""
    assert np.array_equal(done, np.asarray(painted[2]["reason"]) == "")
    assert set(truth["kind"][done]) == {"companion"}
    assert np.all(np.isnan(truth["theta_e"]))
    flux, arcs = (part[done].sum(axis=(1, 2)) for part in (beside, painted[1]))
    assert flux == pytest.approx(arcs, rel=0.1)
    with pytest.raises(ValueError, match="kind must be one of lens, companion, received 'arc'"):
        inject(stamps, DES, 1, np.arange(24), reference, kind="arc")


REAL = {
    "des_J0330-5228_grizY": ("des", {}),
    "cfhtls_patch": ("cfhtls", {}),
    "hsc_blends/Cut_HSC.fits": ("hsc", {}),
    "kids_viking_field": ("kids", {"resample": True, "max_mag": 20.5}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_real_images(realdata, name):
    survey_name, options = REAL[name]
    survey = load_survey(survey_name)
    config = config_from({"survey": survey_name, "ingest": {"images": [str(realdata / name)], **options}})
    form = stamp_format(config)
    paths = [str(path) for path in find_images(config.ingest.images)]
    shard = next(read_whole(one, survey, form, config)[0] for one in group_files(paths, survey))
    assert np.all(shard.psf_fwhm > 0.3)
    assert np.all(shard.electrons_per_njy > 0)
    many = draw_reference(survey, 1, form.bands, count=300)
    out, arcs, truth = inject(shard, survey, 1, range(len(shard.image)), many)
    done = np.asarray(truth["reason"]) == ""
    assert np.isfinite(out).all()
    assert np.array_equal(arcs.any(axis=(1, 2, 3)), done)
    assert np.array_equal(out[~done], shard.image[~done])
    if len(done) > 100:
        assert done.sum() > 3
