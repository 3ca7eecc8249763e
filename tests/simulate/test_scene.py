"""Finished stamps: truth, noise, reproducibility, what plain and full scenes hold."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import vstack

from lenspipe.config import MIXTURE, PLAIN, RealismSection, SimulateSection
from lenspipe.core.survey import load_survey
from lenspipe.imaging.stamps import BEYOND, FILLED
from lenspipe.io.tables import read_table, write_table
from lenspipe.simulate.colours import flux_njy
from lenspipe.simulate.lookalike import are_struck
from lenspipe.simulate.scene import build_scene, draw_truth, mask_stamps, redraw, simulate_stamps

DES = load_survey("des")
BANDS = ("g", "r", "i")
SIZE = 48
FULL, LENSES = SimulateSection(), SimulateSection(kind="lens", scene="plain")
#: Every fault in every second stamp, so that a few stamps show them all.
FAULTY = SimulateSection(realism=RealismSection(masked=0.5, cosmic_rays=0.5, missing_bands=0.5))


@pytest.fixture(scope="module")
def mixed():
    return simulate_stamps(DES, 1, range(14), FAULTY, BANDS, SIZE)


def assert_same(rows, others):
    for name in others.colnames:
        a, b = np.asarray(rows[name]), np.asarray(others[name])
        assert a.dtype == b.dtype, name
        assert np.array_equal(a, b, equal_nan=a.dtype.kind == "f"), name


def test_shapes_kinds_and_limits(mixed):
    image, sky, truth = mixed
    assert image.shape == (14, SIZE, SIZE, 3)
    assert (image.dtype, sky.dtype) == (np.float32, np.float32)
    assert sky == pytest.approx(np.stack([truth[f"sky_sigma_{b}"] for b in BANDS], axis=-1), rel=1e-6)
    assert np.all(np.isfinite(image))
    is_lens = truth["kind"] == "lens"
    assert is_lens.tolist() == [k % 2 == 0 for k in range(14)]
    assert np.all(truth["snr"][is_lens] >= 20)
    assert np.all(truth["mu"][is_lens] >= 2.95)
    for name in ("snr", "mu", "theta_e", "snr_g", "gamma_ext"):
        assert np.all(np.isnan(truth[name][~is_lens])), name
    assert np.asarray(truth["snr"][is_lens]) == pytest.approx(
        np.max([truth[f"snr_{b}"][is_lens] for b in BANDS], axis=0)
    )


def test_sample_is_the_same_in_any_batch(mixed):
    image, _, truth = mixed
    ids = [13, 4, 7]
    other, _, rows = simulate_stamps(DES, 1, ids, FAULTY, BANDS, SIZE)
    assert other == pytest.approx(image[ids], rel=1e-4, abs=1e-3)  # noise is 2 to 15 nJy
    assert_same(rows, truth[ids])


def test_every_image_can_be_drawn_again_from_its_row_on_disk(mixed, tmp_path):
    image, _, truth = mixed
    write_table(truth, tmp_path / "truth.parquet")
    rows = read_table(tmp_path / "truth.parquet")[[9, 2]]
    assert redraw(DES, 1, rows, FAULTY, BANDS, SIZE) == pytest.approx(image[[9, 2]], rel=1e-4, abs=1e-3)


def test_another_seed_is_another_sky(mixed):
    _, _, other = simulate_stamps(DES, 2, range(2), FULL, BANDS, SIZE)
    assert not np.any(np.isin(other["z_lens"], mixed[2]["z_lens"]))


def test_noise_is_sky_and_poisson():
    clean, sky, _ = simulate_stamps(
        DES, 5, range(8), LENSES.model_copy(update={"noiseless": True}), BANDS, SIZE
    )
    noisy, _, _ = simulate_stamps(DES, 5, range(8), LENSES, BANDS, SIZE)
    gain = np.array([DES.bands[b].electrons_per_njy() for b in BANDS])
    sigma = np.sqrt(sky[:, None, None, :] ** 2 + np.maximum(clean, 0) / gain)
    pull = (noisy - clean) / sigma
    assert np.std(pull) == pytest.approx(1.0, abs=0.01)
    assert np.mean(pull) == pytest.approx(0.0, abs=0.01)
    assert np.std(pull[:, :5, :5]) == pytest.approx(1.0, abs=0.1)
    assert not np.array_equal(pull[0], pull[1])
    assert np.mean(pull[:, 1:] * pull[:, :-1]) == pytest.approx(0.0, abs=0.02)  # plain: white


def test_full_scenes_have_the_surveys_correlated_noise():
    section = SimulateSection(kind="lens", realism=RealismSection(masked=0, cosmic_rays=0, missing_bands=0))
    clean, sky, _ = simulate_stamps(
        DES, 5, range(8), section.model_copy(update={"noiseless": True}), BANDS, SIZE
    )
    noisy, _, _ = simulate_stamps(DES, 5, range(8), section, BANDS, SIZE)
    gain = np.array([DES.bands[b].electrons_per_njy() for b in BANDS])
    pull = (noisy - clean) / np.sqrt(sky[:, None, None, :] ** 2 + np.maximum(clean, 0) / gain)
    assert np.std(pull) == pytest.approx(1.0, abs=0.02)
    assert np.mean(pull[:, 1:] * pull[:, :-1]) == pytest.approx(DES.noise_correlation[0], abs=0.02)


def test_plain_scene_holds_the_flux_that_the_truth_says():
    section = LENSES.model_copy(update={"noiseless": True})
    image, _, truth = simulate_stamps(DES, 2, range(4), section, BANDS, 128)
    for b, band in enumerate(BANDS):
        lens = flux_njy(truth[f"mag_lens_{band}"])
        # de Vaucouleurs wings reach beyond the stamp
        arcs = flux_njy(truth[f"mag_src_{band}"]) * truth["mu"]
        inside = image[..., b].sum(axis=(1, 2)) - np.asarray(arcs)
        assert np.all(inside < 1.02 * lens)
        assert np.all(inside > 0.8 * lens)


def test_plain_scenes_have_two_components_and_full_ones_keep_their_flux():
    lenses = draw_truth(DES, 1, range(40), SimulateSection(kind="lens"), BANDS)
    plain, full = (build_scene(DES, 1, lenses, BANDS, 76, effects) for effects in (PLAIN, RealismSection()))
    assert (plain.light.flux.shape, plain.source.flux.shape) == ((40, 1, 3), (40, 1, 3))
    assert np.all(plain.shift_x == 0)
    assert full.light.flux[:, :1] == pytest.approx(plain.light.flux)
    assert full.source.flux.sum(axis=1) == pytest.approx(plain.source.flux[:, 0])
    assert np.all(full.source.flux >= 0)
    assert 0.07 < np.std(full.shift_x) / DES.pixel_scale < 0.13
    assert np.count_nonzero(full.light.flux[:, 1:, 2]) > 40  # neighbours
    others = draw_truth(DES, 1, range(60), SimulateSection(kind="nonlens"), BANDS)
    scene = build_scene(DES, 1, others, BANDS, 76, PLAIN)
    for kind, least in (("spiral", 20), ("ring", 20), ("group", 3)):  # what makes the kind is there
        rows = np.asarray(others["kind"], str) == kind
        assert np.all(np.sum(scene.light.flux[rows, :, 2] > 0, axis=1) >= least), kind
    alone = np.asarray(others["kind"], str) == "elliptical"
    assert np.all(np.sum(scene.light.flux[alone, :, 2] > 0, axis=1) == 1)
    assert scene.source.flux.shape == (60, 0, 3)
    assert np.all(scene.theta_e == 0)


@pytest.mark.parametrize(
    "part", ["misaligned", "varied", "clumps", "satellites", "neighbours", "correlated_noise", "astrometry"]
)
def test_each_part_of_realism_can_be_switched_off(part):
    on = PLAIN.model_copy(update={part: type(getattr(PLAIN, part))(1)})
    section = SimulateSection(kind="lens", noiseless=part != "correlated_noise", realism=PLAIN)
    without, _, _ = simulate_stamps(DES, 1, range(2), section, BANDS, 32)
    with_it, _, _ = simulate_stamps(DES, 1, range(2), section.model_copy(update={"realism": on}), BANDS, 32)
    assert not np.allclose(with_it, without, rtol=1e-3)


@pytest.mark.parametrize("scene", ["full", "plain"])
def test_an_artifact_shows_what_it_is_in_noiseless_sets_too(scene):
    section = SimulateSection(kind="nonlens", mixture={"artifact": 1}, noiseless=True, scene=scene)
    section = section.model_copy(update={"realism": RealismSection(cosmic_rays=1.0, neighbours=False)})
    image, sky, truth = simulate_stamps(DES, 1, range(12), section, BANDS, SIZE)
    struck = are_struck(1, truth)
    assert 0 < struck.sum() < 12
    # a ray is sharper than any PSF: a pixel far above the mean of those beside it
    beside = 0.5 * (np.roll(image, 1, axis=1) + np.roll(image, -1, axis=1))
    beside = np.maximum(beside, 0.5 * (np.roll(image, 1, axis=2) + np.roll(image, -1, axis=2)))
    sharp = ((image - 1.5 * beside) / sky[:, None, None, :]).max(axis=(1, 2, 3))
    assert np.all(sharp[struck] > 4.0)
    # as an effect on other kinds they stay away
    ring = section.model_copy(update={"mixture": {"ring": 1}})
    calm = simulate_stamps(DES, 1, range(4), ring, BANDS, SIZE)[0]
    without = ring.model_copy(update={"realism": RealismSection(cosmic_rays=0.0, neighbours=False)})
    assert np.array_equal(calm, simulate_stamps(DES, 1, range(4), without, BANDS, SIZE)[0])


def test_groups_have_members_whatever_is_switched_off():
    truth = draw_truth(DES, 1, range(40), SimulateSection(kind="nonlens", mixture={"group": 1}), BANDS)
    bare = RealismSection(satellites=0.0, neighbours=False, clumps=False)
    for effects in (PLAIN, bare):
        light = build_scene(DES, 1, truth, BANDS, 76, effects).light
        members = np.sum(np.any(light.flux[:, 1:] > 0, axis=2), axis=1)
        assert np.all(members >= 2)
    assert light.flux.shape[1] >= 5


def test_bright_stars_bleed_in_full_scenes():
    section = SimulateSection(kind="nonlens", mixture={"spike": 1})
    bled, _, _ = simulate_stamps(DES, 1, range(4), section, BANDS, SIZE)
    dry = section.model_copy(update={"realism": RealismSection(bleeding=False)})
    cut, _, _ = simulate_stamps(DES, 1, range(4), dry, BANDS, SIZE)
    level = np.asarray(DES.saturation(BANDS), np.float32)
    full = (bled == level).sum(axis=(1, 2, 3)), (cut == level).sum(axis=(1, 2, 3))
    assert np.all(full[0] > 1.2 * full[1])
    columns, rows = (np.any(bled[..., 2] == level[2], axis=axis).sum(axis=1) for axis in (1, 2))
    assert np.all(rows > columns)  # along y


def test_companions_do_not_tell_the_label():
    truth = vstack(
        [
            draw_truth(DES, 1, range(300), SimulateSection(kind="lens"), BANDS),
            draw_truth(
                DES, 1, range(300, 600), SimulateSection(kind="nonlens", mixture={"elliptical": 1}), BANDS
            ),
        ]
    )
    near = []
    for rows in (truth[:300], truth[300:]):
        effects = RealismSection(neighbours=False, clumps=False)
        light = build_scene(DES, 1, rows, BANDS, 76, effects).light
        near.append(np.mean(np.any(light.flux[:, -4:, 2] > 0, axis=1)))
    assert near[0] == pytest.approx(0.25, abs=0.08)
    assert near[0] == pytest.approx(near[1], abs=0.1)


def test_a_mixture_of_one_kind_is_of_that_kind():
    for kind in ("ring", "empty"):
        truth = draw_truth(DES, 1, range(5), SimulateSection(kind="nonlens", mixture={kind: 2.0}), BANDS)
        assert set(truth["kind"]) == {kind}
    assert sum(MIXTURE.values()) == pytest.approx(1.0)


def test_masks_are_those_of_the_images(mixed):
    mask = mask_stamps(1, range(14), FAULTY, 3, SIZE)
    assert mask.shape == mixed[0].shape
    assert np.all(mixed[0][mask == BEYOND] == 0)
    whole = FAULTY.model_copy(update={"realism": FAULTY.realism.model_copy(update={"masked": 0.0})})
    unfilled, _, _ = simulate_stamps(DES, 1, range(6), whole, BANDS, SIZE)
    # to float32 rounding of the renderer, where noise is 2 to 15 nJy
    changed = np.abs(unfilled - mixed[0][:6]) > 1e-2
    filled = mask[:6] == FILLED
    assert filled.any()
    assert not np.any(changed & ~filled)
    assert np.mean(changed[filled]) > 0.95
    for other in (FAULTY.model_copy(update={"noiseless": True}), LENSES):  # neither has faults
        assert not mask_stamps(1, range(14), other, 3, SIZE).any()


def test_lenses_without_light_are_their_arcs():
    section = SimulateSection(kind="lens", noiseless=True, scene="plain")
    args = (DES, 1, range(3))
    whole, _, truth = simulate_stamps(*args, section, BANDS, SIZE)
    arcs, _, without = simulate_stamps(*args, section.model_copy(update={"lens_light": False}), BANDS, SIZE)
    assert np.all(np.isnan(without["mag_lens_r"]))
    np.testing.assert_array_equal(without["theta_e"], truth["theta_e"])
    assert np.all(arcs.sum(axis=(1, 2)) < whole.sum(axis=(1, 2)))
    lensed = 10 ** (-0.4 * (without["mag_src_r"] - 31.4)) * without["mu"]
    np.testing.assert_allclose(arcs[..., 1].sum(axis=(1, 2)), lensed, rtol=0.05)
