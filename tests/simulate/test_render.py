"""Rendered scenes against GalSim (galaxies, stars) and lenstronomy (arcs), in units of DES noise."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from lenspipe.imaging.observe import noise_sigma
from lenspipe.simulate.render import Light, Scene, compile_render, draw, pack, render
from tests.oracles.lenstronomy_scene import galsim_image, galsim_psf, lensed_image

PIXEL = 0.263
GAIN, SKY = 12.5, 14.9  # DES i band: electrons per nJy, nJy per empty pixel


def light(flux, x=0.0, y=0.0, r_eff=1.0, n=1.0, q=1.0, phi=0.0, **arms) -> Light:
    """Return components from scalars or lists; flux (n,) or (n, m) in one band."""
    flux = np.asarray(flux, float)
    flux = flux.reshape(len(flux), -1)
    values = {"x": x, "y": y, "r_eff": r_eff, "n": n, "q": q, "phi": phi, **arms}
    columns = {k: np.reshape(v, (-1, 1)) if np.ndim(v) else v for k, v in values.items()}
    return Light(flux=flux[:, :, None], **{k: np.broadcast_to(v, flux.shape) for k, v in columns.items()})


def nothing(count: int) -> Light:
    return light(np.zeros((count, 0)))


def scene(foreground: Light, source: Light, fwhm=0.88, beta=np.inf, **deflector) -> Scene:
    count = foreground.flux.shape[0]
    names = ("theta_e", "q", "phi", "x_lens", "y_lens", "gamma_ext", "phi_ext")
    values = {
        name: np.broadcast_to(deflector.get(name, 1.0 if name == "q" else 0.0), (count,)) for name in names
    }
    bands = foreground.flux.shape[2]
    return Scene(
        **values,
        light=foreground,
        source=source,
        psf_fwhm=np.full((count, bands), fwhm),
        psf_beta=np.full(count, beta),
    )


def component(part: Light, i: int) -> dict[str, float]:
    return {name: float(getattr(part, name)[i, 0]) for name in ("x", "y", "r_eff", "n", "q", "phi")} | {
        "flux": float(part.flux[i, 0, 0])
    }


def images(result) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(part)[..., 0] for part in result]


@pytest.mark.parametrize(("beta", "size"), [(np.inf, 64), (3.0, 45)])
def test_galaxies_agree_with_galsim(beta, size):
    # i = 17: the centre is 300 sigma; lenstronomy at 3 x 3 samples errs by 12 sigma on such scenes
    galaxies = light(
        np.full(6, 5.7e5),
        x=[0.0, 0.13, -0.08, 2.0, 0.05, 0.1],
        y=[0.0, -0.1, 0.03, -3.0, 0.1, 0.02],
        r_eff=[0.8, 0.4, 1.5, 0.3, 0.6, 0.7],
        n=[4.0, 4.0, 4.0, 1.0, 6.0, 0.5],
        q=[0.7, 0.9, 0.5, 0.2, 0.8, 0.3],
        phi=[0.0, 30.0, -70.0, 45.0, 90.0, 10.0],
    )
    mine, arcs = images(render(scene(galaxies, nothing(6), beta=beta), size, PIXEL))
    assert np.abs(arcs).max() < 1e-3  # rounding of the FFT that both parts share
    for i in range(6):
        theirs = galsim_image(component(galaxies, i), size, PIXEL, 0.88, beta)
        error = np.abs(mine[i] - theirs) / noise_sigma(theirs, GAIN, SKY)
        # the Moffat kernel is cut off at 16 pixels and normalised there
        assert error.max() < (0.25 if np.isinf(beta) else 1.5), i
        assert mine[i].sum() == pytest.approx(theirs.sum(), rel=2e-3)


@pytest.mark.parametrize("oversample", [3, 4])
def test_arcs_agree_with_lenstronomy(oversample):
    sources = light(
        np.full(3, 900.0),
        x=[0.1, 0.35, -0.02],
        y=[0.05, -0.2, 0.0],
        r_eff=[0.3, 0.1, 0.5],
        q=0.6,
        phi=[20.0, -50.0, 80.0],
    )
    deflector = {
        "theta_e": 1.4,
        "q": 0.7,
        "phi": 35.0,
        "x_lens": 0.05,
        "y_lens": -0.04,
        "gamma_ext": 0.05,
        "phi_ext": -20.0,
    }
    _, mine = images(render(scene(nothing_lit(3), sources, **deflector), 64, PIXEL, oversample))
    for i in range(3):
        theirs = lensed_image(deflector, component(sources, i), 64, PIXEL, 0.88, np.inf)
        assert theirs.max() > 3 * SKY
        assert np.max(np.abs(mine[i] - theirs)) < 0.1 * SKY
        assert mine[i].sum() == pytest.approx(theirs.sum(), rel=5e-3)


def nothing_lit(count: int) -> Light:
    return light(np.zeros(count))


def test_stars_are_the_psf_at_their_place():
    stars = light(np.full(4, 1e5), x=[0.0, 0.1, -1.37, 7.9], y=[0.0, 0.07, 2.22, 0.3], r_eff=0.0, n=0.5)
    mine, _ = images(render(scene(stars, nothing(4), beta=3.5), 64, PIXEL))
    for i in range(4):
        psf = galsim_psf(0.88, 3.5).shift(float(stars.x[i, 0]), float(stars.y[i, 0])) * 1e5
        theirs = psf.drawImage(nx=64, ny=64, scale=PIXEL, method="auto", dtype=float).array
        np.testing.assert_allclose(mine[i], theirs, atol=2e-3 * theirs.max())


def test_light_from_outside_comes_in_and_nothing_wraps():
    size = 32
    edge = 0.5 * size * PIXEL
    stars = light(np.full(3, 1e5), x=[edge + 0.5, edge + 4.0, edge + 60.0], y=0.0, r_eff=0.0, n=0.5)
    mine, _ = images(render(scene(stars, nothing(3)), size, PIXEL))
    psf = galsim_psf(0.88, np.inf).shift(edge + 0.5, 0.0) * 1e5
    theirs = psf.drawImage(nx=size, ny=size, scale=PIXEL, method="auto", dtype=float).array
    np.testing.assert_allclose(mine[0], theirs, atol=2e-3 * theirs.max())
    assert theirs[:, -1].max() > 100 * SKY
    assert np.abs(mine[1:]).max() < 0.1


def test_without_a_lens_the_source_is_what_it_is():
    galaxy = light([1e4], x=0.4, y=-0.3, r_eff=0.5, q=0.6, phi=30.0)
    foreground, source = images(render(scene(galaxy, galaxy), 48, PIXEL))
    # the four samples a sub-pixel of a source blur it by 0.3 % of the PSF's variance
    np.testing.assert_allclose(source, foreground, atol=5e-3 * foreground.max())


def test_components_bands_and_arms_add_up():
    rng = np.random.default_rng(2)
    shape = (2, 3)
    base = {
        "x": rng.normal(0, 1, shape),
        "y": rng.normal(0, 1, shape),
        "r_eff": rng.uniform(0.3, 1, shape),
        "n": rng.uniform(0.5, 4, shape),
        "q": rng.uniform(0.4, 1, shape),
        "phi": rng.uniform(-90, 90, shape),
        "arms": np.full(shape, 0.4),
        "pitch": np.full(shape, 20.0),
    }
    flux = rng.uniform(1e3, 1e4, (*shape, 2))

    def both(components: slice, bands: slice):
        part = Light(**{k: v[:, components] for k, v in base.items()}, flux=flux[:, components, bands])
        lens = {"theta_e": np.array([1.0, 0.0]), "q": 0.8}
        return np.concatenate(
            [keras.ops.convert_to_numpy(p) for p in render(scene(part, part, **lens), 33, PIXEL)]
        )

    everything = both(slice(None), slice(None))
    assert everything.shape == (4, 33, 33, 2)
    for band in range(2):
        parts = sum(both(slice(c, c + 1), slice(band, band + 1)) for c in range(3))
        np.testing.assert_allclose(everything[..., band], parts[..., 0], atol=1e-3)


def test_compiled_renderer_gives_the_same_for_any_number():
    galaxies = light(np.full(5, 1e4), x=np.linspace(-1, 1, 5), r_eff=0.7, n=4.0)
    arcs = light(np.full(5, 1e3), x=np.linspace(-0.2, 0.2, 5), r_eff=0.2)
    batch = scene(galaxies, arcs, theta_e=1.2, q=0.8)
    run = compile_render(32, PIXEL, batch=2)
    for mine, expected in zip(run(batch), render(batch, 32, PIXEL), strict=True):
        assert mine.shape == (5, 32, 32, 1)
        np.testing.assert_allclose(mine, keras.ops.convert_to_numpy(expected), atol=2e-5 * mine.max())


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="Keras on JAX computes in float32")
def test_float64_comes_through():
    galaxies = light([1e4], r_eff=0.7, n=4.0)
    arrays = {
        name: value.astype("float64")
        for name, value in pack(scene(galaxies, galaxies, theta_e=1.0, q=0.8)).items()
    }
    for image in draw(arrays, 32, PIXEL):
        assert keras.backend.standardize_dtype(image.dtype) == "float64"
