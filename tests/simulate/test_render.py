"""The renderer as a whole: sums, bands, batches, gradients, backends."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from lenspipe.simulate.render import Light, draw, pack, render
from tests.simulate.scenes import PIXEL, light, nothing, scene

LENS = {"theta_e": 1.2, "q": 0.8, "phi": 30.0, "gamma_ext": 0.03}


def test_components_and_bands_add_up():
    rng = np.random.default_rng(2)
    shape = (2, 3)
    base = {
        "x": rng.normal(0, 1, shape),
        "y": rng.normal(0, 1, shape),
        "r_eff": rng.uniform(0.3, 0.6, shape),
        "n": rng.uniform(0.5, 2, shape),
        "q": rng.uniform(0.4, 1, shape),
        "phi": rng.uniform(-90, 90, shape),
    }
    flux = rng.uniform(1e3, 1e4, (*shape, 2))

    def both(components: slice, bands: slice):
        part = Light(**{k: v[:, components] for k, v in base.items()}, flux=flux[:, components, bands])
        lens = {"theta_e": np.array([1.0, 0.0]), "q": 0.8}
        return np.concatenate(render(scene(part, part, **lens), 33, PIXEL))

    everything = both(slice(None), slice(None))
    assert everything.shape == (4, 33, 33, 2)
    for band in range(2):
        parts = sum(both(slice(c, c + 1), slice(band, band + 1)) for c in range(3))
        # the window of all sources is coarser than that of each
        np.testing.assert_allclose(everything[..., band], parts[..., 0], atol=2e-3 * parts.max())


def test_a_scene_is_the_same_in_any_company():
    galaxies = light(np.full(40, 1e4), x=np.linspace(-1, 1, 40), r_eff=0.7, n=4.0)
    arcs = light(np.full(40, 1e3), x=np.linspace(-0.2, 0.2, 40), r_eff=0.2)
    together = render(scene(galaxies, arcs, **LENS), 32, PIXEL)
    for i in (0, 17, 39):
        alone = [
            light(part.flux[i, :, 0], part.x[i], 0.0, part.r_eff[i], part.n[i]) for part in (galaxies, arcs)
        ]
        for mine, expected in zip(render(scene(*alone, **LENS), 32, PIXEL), together, strict=True):
            np.testing.assert_array_equal(mine[0], expected[i])


def test_psfs_of_other_wings_in_company_change_nothing():
    galaxies, arcs = light(np.full(4, 1e4), r_eff=0.7, n=4.0), light(np.full(4, 1e3), x=0.1, r_eff=0.2)
    betas = np.array([2.7, 2.3, np.inf, 3.4])  # eight Gaussians, ten, one, eight
    together = render(dataclasses.replace(scene(galaxies, arcs, **LENS), psf_beta=betas), 32, PIXEL)
    one = light([1e4], r_eff=0.7, n=4.0), light([1e3], x=0.1, r_eff=0.2)
    for i, beta in enumerate(betas):
        for mine, seen in zip(render(scene(*one, beta=beta, **LENS), 32, PIXEL), together, strict=True):
            np.testing.assert_allclose(mine[0], seen[i], rtol=1e-5, atol=1e-6 * seen[i].max())


def test_stars_among_galaxies_take_few_gaussians():
    # a galaxy needs a dozen, a star one: what is padded with nothing costs nothing
    flux = np.zeros((2, 5, 1))
    flux[:, 0], flux[1, 1:3] = 1e4, 500.0
    n = np.broadcast_to([4.0, 0.5, 0.5, 4.0, 4.0], (2, 5))
    half = np.full((2, 5), 0.5)
    arrays, _ = pack(scene(Light(half, half, half, n, half, half, flux), nothing(2)), 32, PIXEL)
    used = np.sum(arrays["term_weight"] != 0.0, axis=1)
    assert used[1] == used[0] + 2 <= 18


def test_bands_shift_as_told():
    galaxy, source = light([1e4], r_eff=0.5, n=1.0), light([1e3], x=0.1, r_eff=0.2)
    plain = scene(galaxy, source, **LENS)
    one_pixel = np.full((1, 1), PIXEL)
    moved = dataclasses.replace(plain, shift_x=one_pixel, shift_y=-2 * one_pixel)
    for before, after in zip(render(plain, 40, PIXEL), render(moved, 40, PIXEL), strict=True):
        np.testing.assert_allclose(after[0, 5:30, 5:30], before[0, 7:32, 4:29], atol=2e-5 * before.max())


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="takes TensorFlow's gradient")
def test_gradients_are_those_of_finite_differences():
    import tensorflow as tf

    galaxy = light([1e4], x=0.05, r_eff=0.7, n=4.0, q=0.7, phi=20.0)
    source = light([1e3], x=0.15, y=0.1, r_eff=0.25, q=0.8)
    packed, profiles = pack(scene(galaxy, source, **LENS), 32, PIXEL)
    arrays = {k: v.astype("float64") if v.dtype.kind == "f" else v for k, v in packed.items()}
    weights = np.random.default_rng(1).normal(size=(1, 32, 32, 1))

    def total(name, value):
        images = draw({**arrays, name: value}, profiles, 32, PIXEL)
        return keras.ops.sum((images[0] + images[1]) * weights)

    names = ("theta_e", "q", "phi", "gamma_ext", "light_r_eff", "light_q", "light_x", "source_x",
             "source_r_eff", "source_flux", "psf_fwhm")  # fmt: skip
    for name in names:
        value = tf.constant(arrays[name])
        with tf.GradientTape() as tape:
            tape.watch(value)
            result = total(name, value)
        gradient = float(keras.ops.sum(tape.gradient(result, value)))
        step = 1e-4 * max(abs(float(arrays[name].ravel()[0])), 1.0)
        numeric = float(total(name, arrays[name] + step) - total(name, arrays[name] - step)) / (2 * step)
        assert gradient == pytest.approx(numeric, rel=2e-3, abs=1e-3), name


def test_packed_seeing_is_the_seeing_of_galaxy_and_arcs():
    galaxies, arcs = light([1e4], r_eff=3.0, n=4.0), light([1e3], x=0.1, r_eff=0.2)
    packed, wider = (
        pack(scene(galaxies, arcs, fwhm=fwhm, beta=2.7, **LENS), 32, PIXEL) for fwhm in (0.9, 1.0)
    )
    seen = draw({**packed[0], "psf_fwhm": wider[0]["psf_fwhm"]}, packed[1], 32, PIXEL)
    for one, other in zip(seen, draw(wider[0], wider[1], 32, PIXEL), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-3 * np.abs(np.asarray(other)).max())


SCRIPT = """
import sys
import keras, numpy as np
from tests.simulate.test_render import mixed_scene
from lenspipe.simulate.render import render
assert keras.config.backend() == "jax"
np.savez(sys.argv[1], *[part for k in range(3) for part in render(mixed_scene(k), 32, 0.263)])
"""


def mixed_scene(kind: int):
    """Return a scene with a Gaussian, a Moffat or an image PSF."""
    galaxies = light(np.full(2, 1e4), x=[0.1, -0.3], r_eff=[0.7, 1.5], n=[4.0, 1.0], q=0.6)
    arcs = light(np.full(2, 1e3), x=[0.1, -0.2], r_eff=[0.1, 0.3], n=[1.0, 2.0])
    star = np.exp(-(np.hypot(*np.mgrid[-8:9, -8:9]) ** 2) / 4.0)
    image = np.broadcast_to(star, (2, 1, 17, 17)) if kind == 2 else None
    return scene(galaxies, arcs, beta=3.0 if kind == 1 else np.inf, psf_image=image, **LENS)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_tensorflow_and_jax_agree(tmp_path):
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    out = tmp_path / "jax.npz"
    subprocess.run([sys.executable, "-c", SCRIPT, str(out)], env=environment, check=True, timeout=170)
    jax = list(np.load(out).values())
    mine = [part for k in range(3) for part in render(mixed_scene(k), 32, PIXEL)]
    for one, other in zip(mine, jax, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5 * np.abs(other).max())
