"""Injection: what is painted is the lensed source and nothing else, with the local PSF, each time the same."""

from __future__ import annotations

import numpy as np
import pytest

from lenspipe.config import config_from
from lenspipe.core.survey import load_survey
from lenspipe.io.layout import find_images, group_files
from lenspipe.simulate.colours import flux_njy
from lenspipe.simulate.inject import describe_hosts, draw_reference, inject, inject_tile
from lenspipe.simulate.parts import galaxy_scene, source_scene
from lenspipe.simulate.render import render
from lenspipe.simulate.selection import MIN_MAGNIFICATION
from lenspipe.stages.ingest import ingest_images
from lenspipe.stages.stamps import stamp_format

DES = load_survey("des")
BANDS = ("g", "i")
SIZE = 61
GAIN = np.array([DES.bands[band].electrons_per_njy() for band in BANDS])


@pytest.fixture(scope="module")
def reference():
    return draw_reference(DES, 1, BANDS, count=600)


@pytest.fixture(scope="module")
def stamps(reference):
    """Galaxies like those of the population, drawn alone, and their noise."""
    hosts = reference[:24].copy()
    for band in BANDS:
        hosts[f"bulge_{band}"] = 1.0
    hosts["r_bulge"] = hosts["r_lens"]
    light, _ = render(galaxy_scene(hosts, BANDS), SIZE, DES.pixel_scale)
    sigma = np.stack([hosts[f"sky_sigma_{band}"] for band in BANDS], axis=-1)
    noise = np.random.default_rng(1).standard_normal(light.shape) * sigma[:, None, None, :]
    fwhm = np.stack([hosts[f"psf_fwhm_{band}"] for band in BANDS], axis=-1)
    return (light + noise).astype(np.float32), sigma, fwhm, hosts


@pytest.fixture(scope="module")
def painted(stamps, reference):
    image, sigma, fwhm, _ = stamps
    return inject(image, sigma, DES, 1, np.arange(24), BANDS, reference, fwhm)


def test_galaxies_of_the_population_are_recognised(stamps, reference):
    image, sigma, fwhm, hosts = stamps
    seen = describe_hosts(image, sigma, DES, BANDS, reference, fwhm)
    assert np.mean(np.asarray(seen["reason"]) == "") > 0.7
    difference = np.asarray(seen["mag_lens_i"]) - np.asarray(hosts["mag_lens_i"])
    assert abs(np.nanmedian(difference)) < 0.15
    assert np.nanmedian(np.abs(seen["x_lens"] - hosts["x_lens"])) < 0.05


def test_blue_galaxies_and_empty_sky_are_left_out_with_a_reason(stamps, reference):
    image, sigma, fwhm, _ = stamps
    blue = image[:2] * np.array([8.0, 1.0], np.float32)
    noise = np.random.default_rng(2).standard_normal(image[:1].shape) * sigma[0] - 3 * sigma[0]
    odd = np.concatenate([blue, noise.astype(np.float32)])
    out, arcs, truth = inject(odd, sigma[:3], DES, 1, range(3), BANDS, reference, fwhm[:3])
    assert np.array_equal(out, odd)
    assert not arcs.any()
    assert list(truth["kind"]) == ["galaxy"] * 3
    assert truth["reason"][0].startswith("no lens galaxy looks like it: chi2 ")
    assert truth["reason"][2] == "no galaxy in the middle"
    assert np.all(np.isnan(truth["theta_e"]))


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
    _, again = render(source_scene(truth[rows], BANDS), SIZE, DES.pixel_scale)
    assert np.max(np.abs(again - arcs[rows])) < 2e-3 * np.max(truth["sky_sigma_i"])
    wide = truth[rows].copy()
    wide["psf_fwhm_i"] = 2 * wide["psf_fwhm_i"]
    _, wide = render(source_scene(wide, BANDS), SIZE, DES.pixel_scale)
    assert np.all(wide[..., 1].max(axis=(1, 2)) < 0.8 * arcs[rows][..., 1].max(axis=(1, 2)))


def test_pixels_without_arcs_are_the_same_bits(stamps, painted):
    out, arcs, _ = painted
    same = out == stamps[0]
    assert np.all(same[arcs == 0])
    assert 0.05 < np.mean(arcs > 0) < 0.7


def test_the_arcs_have_their_own_poisson_noise(stamps, painted):
    out, arcs, _ = painted
    extra = out.astype(float) - stamps[0] - arcs
    bright = arcs > 1.0
    pull = extra[bright] / np.sqrt(arcs / GAIN)[bright]
    assert pull.mean() == pytest.approx(0, abs=0.05)
    assert pull.std() == pytest.approx(1, abs=0.05)


def test_a_sample_is_the_same_in_any_company(stamps, painted, reference):
    image, sigma, fwhm, _ = stamps
    rows = np.array([7, 3])
    out, _, truth = inject(image[rows], sigma[rows], DES, 1, rows, BANDS, reference, fwhm[rows])
    for name in ("theta_e", "x_src", "mag_src_i", "z_src"):
        assert np.array_equal(truth[name], painted[2][name][rows], equal_nan=True)
    assert out == pytest.approx(painted[0][rows], rel=1e-4, abs=1e-3)


def test_companions_are_as_bright_and_not_lensed(stamps, painted, reference):
    image, sigma, fwhm, _ = stamps
    _, beside, truth = inject(image, sigma, DES, 1, np.arange(24), BANDS, reference, fwhm, kind="companion")
    done = np.asarray(truth["reason"]) == ""
    assert np.array_equal(done, np.asarray(painted[2]["reason"]) == "")
    assert set(truth["kind"][done]) == {"companion"}
    assert np.all(np.isnan(truth["theta_e"]))
    flux, arcs = (part[done].sum(axis=(1, 2)) for part in (beside, painted[1]))
    assert flux == pytest.approx(arcs, rel=0.1)
    with pytest.raises(ValueError, match="kind must be one of lens, companion, received 'arc'"):
        inject(image, sigma, DES, 1, np.arange(24), BANDS, reference, kind="arc")


def test_a_tile_is_painted_like_its_stamps(stamps, reference):
    image, sigma, _, _ = stamps
    flux = np.concatenate([image[0], image[1]], axis=1)
    weight = np.broadcast_to(1 / sigma[0] ** 2, flux.shape).astype(np.float32).copy()
    weight[30, 30], flux[5, 5] = 0.0, np.nan
    x, y = np.array([30.0, 30.0 + SIZE]), np.array([30.0, 30.0])
    new, changed, truth = inject_tile(flux, weight, x, y, DES, 1, [0, 1], BANDS, reference, SIZE)
    done = np.asarray(truth["reason"]) == ""
    assert done.any()
    touched = new != flux
    touched[5, 5] = False
    assert np.array_equal(touched[30, 30], [False, False])
    assert np.all(changed[touched] < weight[touched])
    assert np.array_equal(changed[~touched], weight[~touched])
    assert np.isnan(new[5, 5]).all()
    before = np.nan_to_num(np.where(weight > 0, flux, 0))[:, :SIZE]
    if done[0]:
        usual = 1 / np.sqrt(np.median(weight[:, :SIZE], axis=(0, 1)))
        out, _, _ = inject(before[None], usual[None], DES, 1, [0], BANDS, reference)
        good = weight[:, :SIZE, 0] > 0
        assert np.nan_to_num(new[:, :SIZE])[good] == pytest.approx(out[0][good], rel=1e-4, abs=1e-2)


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
    shard = next(ingest_images(one, survey, form, config)[0] for one in group_files(paths, survey))
    assert np.all(shard.psf_fwhm > 0.3)
    assert np.all(shard.electrons_per_njy > 0)
    many = draw_reference(survey, 1, form.bands, count=300)
    out, arcs, truth = inject(
        shard.image, shard.noise_sigma, survey, 1, range(len(shard.image)), form.bands, many,
        shard.psf_fwhm, shard.electrons_per_njy,
    )  # fmt: skip
    done = np.asarray(truth["reason"]) == ""
    assert np.isfinite(out).all()
    assert np.array_equal(arcs.any(axis=(1, 2, 3)), done)
    assert np.array_equal(out[~done], shard.image[~done])
    if len(done) > 100:
        assert done.sum() > 3
