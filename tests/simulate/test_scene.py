"""Finished stamps: truth, noise, reproducibility, what plain and full scenes hold."""

from __future__ import annotations

import numpy as np
import pytest

from lenspipe.config import SimulateSection
from lenspipe.core.survey import load_survey
from lenspipe.simulate.colours import flux_njy
from lenspipe.simulate.scene import build_scene, draw_truth, measure_arcs, simulate_stamps

DES = load_survey("des")
BANDS = ("g", "r", "i")
SIZE = 48


@pytest.fixture(scope="module")
def mixed():
    return simulate_stamps(DES, 1, range(14), SimulateSection(batch_size=8), BANDS, SIZE)


def test_shapes_kinds_and_limits(mixed):
    image, sky, truth = mixed
    assert image.shape == (14, SIZE, SIZE, 3)
    assert (image.dtype, sky.dtype) == (np.float32, np.float32)
    assert sky == pytest.approx(np.stack([truth[f"sky_sigma_{b}"] for b in BANDS], axis=-1), rel=1e-6)
    assert np.all(np.isfinite(image))
    is_lens = truth["kind"] == "lens"
    assert is_lens.tolist() == [k % 2 == 0 for k in range(14)]
    assert np.all(truth["snr"][is_lens] >= 20)
    assert np.all(truth["mu"][is_lens] >= 3)
    for name in ("snr", "mu", "theta_e", "x_src", "mag_src_g"):
        assert np.all(np.isnan(truth[name][~is_lens]))
    assert np.asarray(truth["snr"][is_lens]) == pytest.approx(
        np.max([truth[f"snr_{b}"][is_lens] for b in BANDS], axis=0)
    )


def test_sample_is_the_same_in_any_batch(mixed):
    image, _, truth = mixed
    ids = [13, 4, 7]
    other, _, rows = simulate_stamps(DES, 1, ids, SimulateSection(batch_size=2), BANDS, SIZE)
    assert other == pytest.approx(image[ids], rel=1e-5, abs=0.01)  # noise is 2 to 15 nJy
    for name in truth.colnames:
        if truth[name].dtype.kind == "f":
            assert np.allclose(rows[name], truth[name][ids], rtol=1e-5, equal_nan=True), name
        else:
            assert rows[name].tolist() == truth[name][ids].tolist(), name


def test_lenses_too_faint_once_rendered_are_drawn_anew(monkeypatch):
    import lenspipe.simulate.scene as scene_module

    asked = []
    draw = scene_module.draw_lenses
    monkeypatch.setattr(scene_module, "draw_lenses", lambda *a, **k: asked.append(len(a[2])) or draw(*a, **k))
    monkeypatch.setattr("lenspipe.simulate.population.estimate_snr", lambda *a: np.full(len(a[4]), 1e9))
    section = SimulateSection(kind="lens", scene="plain", min_snr=10, batch_size=8)
    _, _, truth = simulate_stamps(DES, 3, range(6), section, BANDS, 32)
    assert len(asked) > 1  # an estimate that lets everything through leaves work for the measurement
    assert len(truth) == 6
    assert np.all(truth["snr"] >= 10)


def test_noise_is_sky_and_poisson():
    section = SimulateSection(kind="lens", scene="plain", batch_size=8)
    without = section.model_copy(update={"noiseless": True})
    clean, sky, _ = simulate_stamps(DES, 5, range(8), without, BANDS, SIZE)
    noisy, _, _ = simulate_stamps(DES, 5, range(8), section, BANDS, SIZE)
    gain = np.array([DES.bands[b].electrons_per_njy() for b in BANDS])
    sigma = np.sqrt(sky[:, None, None, :] ** 2 + np.maximum(clean, 0) / gain)
    pull = (noisy - clean) / sigma
    assert np.std(pull) == pytest.approx(1.0, abs=0.01)
    assert np.mean(pull) == pytest.approx(0.0, abs=0.01)
    corner = pull[:, :5, :5]
    assert np.std(corner) == pytest.approx(1.0, abs=0.1)
    assert not np.array_equal(pull[0], pull[1])


def test_plain_scene_holds_the_flux_that_the_truth_says():
    section = SimulateSection(kind="lens", scene="plain", noiseless=True, batch_size=4)
    image, _, truth = simulate_stamps(DES, 2, range(4), section, BANDS, 128)
    for b, band in enumerate(BANDS):
        lens = flux_njy(truth[f"mag_lens_{band}"])
        # de Vaucouleurs wings reach beyond the stamp; the arcs have the magnification of the i band
        arcs = flux_njy(truth[f"mag_src_{band}"]) * truth["mu"]
        inside = image[..., b].sum(axis=(1, 2)) - np.asarray(arcs)
        assert np.all(inside < lens)
        assert np.all(inside > 0.8 * lens)


def test_full_scenes_add_neighbours_discs_and_arms_and_keep_the_hosts_flux():
    truth = draw_truth(DES, 1, np.arange(1, 400, 2), "nonlens", BANDS, 20.0)
    plain = build_scene(DES, 1, truth, BANDS, 76, full=False)
    full = build_scene(DES, 1, truth, BANDS, 76)
    kinds = np.asarray(truth["kind"])
    assert plain.light.flux.shape == (200, 1, 3)
    assert full.light.flux[:, :2].sum(axis=1) == pytest.approx(plain.light.flux[:, 0])
    assert np.all(full.light.arms[kinds == "spiral", 1] > 0.3)
    assert np.all(full.light.arms[kinds != "spiral"] == 0)
    beside = np.count_nonzero(full.light.flux[:, 2:, 2], axis=1)
    assert np.all(beside[kinds == "merger"] >= 1)
    assert np.all(beside[kinds == "group"] >= 2)
    assert np.all(full.source.flux == 0)
    assert np.all(full.theta_e == 0)
    assert plain.light.arms is None


def test_companions_do_not_tell_the_label():
    lenses = draw_truth(DES, 1, np.arange(300), "lens", BANDS, 20.0)
    light = build_scene(DES, 1, lenses, BANDS, 76).light
    distance = np.hypot(light.x[:, 2:] - light.x[:, :1], light.y[:, 2:] - light.y[:, :1])
    near = np.any((light.flux[:, 2:, 2] > 0) & (distance < 6), axis=1)
    assert 0.2 < np.mean(near) < 0.7


def test_signal_to_noise_is_the_best_number_of_pixels():
    truth = draw_truth(DES, 1, [0], "lens", BANDS, 20.0)
    for band in BANDS:
        truth[f"sky_sigma_{band}"] = 1.0
    arcs = np.zeros((1, 8, 8, 3), np.float32)
    arcs[0, 0, 0], arcs[0, 0, 1], arcs[0, 0, 2] = 10.0, 10.0, 0.1
    snr = measure_arcs(DES, truth, BANDS, np.zeros_like(arcs), arcs, np.ones(3))["snr"]
    assert snr[0] == pytest.approx(20 / np.sqrt(2))  # the third pixel would add more noise than light
