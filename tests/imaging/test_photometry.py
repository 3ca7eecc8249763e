"""Photometry of central galaxies against what GalSim drew."""

from __future__ import annotations

import galsim
import numpy as np
import pytest

from lenspipe.imaging.photometry import measure_galaxies, point_like

SCALE, SEEING, SIGMA = 0.263, 0.9, 5.0


def stamps(n_sersic: float, count: int = 16) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    rng = np.random.default_rng(4)
    truth = {
        "x": rng.uniform(-0.3, 0.3, count), "y": rng.uniform(-0.3, 0.3, count),
        "r_eff": rng.uniform(0.6, 1.4, count), "q": rng.uniform(0.4, 0.9, count),
        "phi": rng.uniform(-90, 90, count),
    }  # fmt: skip
    out = np.zeros((count, 77, 77, 2))
    for k in range(count):
        galaxy = galsim.Sersic(n_sersic, half_light_radius=truth["r_eff"][k])
        # galsim's angle starts at +x
        galaxy = galaxy.shear(q=truth["q"][k], beta=(truth["phi"][k] + 90) * galsim.degrees)
        profile = galsim.Convolve(galaxy.shift(truth["x"][k], truth["y"][k]), galsim.Gaussian(fwhm=SEEING))
        image = profile.withFlux(4e4).drawImage(nx=77, ny=77, scale=SCALE).array
        out[k] = image[..., None] + rng.normal(0, SIGMA, (77, 77, 2))
    return out, truth


def measure(image: np.ndarray) -> dict[str, np.ndarray]:
    both = (len(image), 2)
    return measure_galaxies(image, np.full(both, SIGMA), np.full(both, SEEING), SCALE)


@pytest.mark.parametrize(
    ("n_sersic", "size", "flux"), [(1.0, (0.9, 1.15), (0.9, 1.0)), (4.0, (0.6, 0.95), (0.65, 0.85))]
)
def test_discs_and_spheroids(n_sersic, size, flux):
    image, truth = stamps(n_sersic)
    seen = measure(image)
    for name in "xy":
        assert seen[name] == pytest.approx(truth[name], abs=0.03)
    assert np.max(np.abs((seen["phi"] - truth["phi"] + 90) % 180 - 90)) < 5
    assert seen["q"] == pytest.approx(truth["q"], abs=0.12)
    ratio = seen["r_eff"] / truth["r_eff"]
    assert np.all((ratio > size[0]) & (ratio < size[1]))
    assert np.all((seen["flux"] / 4e4 > flux[0]) & (seen["flux"] / 4e4 < flux[1]))


def test_a_star_is_small_and_round_and_nothing_is_nan():
    star = galsim.Gaussian(fwhm=SEEING, flux=4e4).drawImage(nx=77, ny=77, scale=SCALE).array
    rng = np.random.default_rng(5)
    image = np.stack([np.stack([star] * 2, -1), np.zeros((77, 77, 2))]) + rng.normal(0, SIGMA, (2, 77, 77, 2))
    image[1] -= 2 * SIGMA
    seen = measure(image)
    assert seen["r_eff"][0] < 0.2
    assert seen["q"][0] > 0.8
    assert np.isnan(seen["r_eff"][1])
    assert np.all(np.isnan(seen["flux"][1]))


def test_each_stamp_alone_is_measured_alike():
    image, _ = stamps(1.0, 5)
    together, alone = measure(image), measure(image[3:4])
    for name, values in alone.items():
        assert values == pytest.approx(together[name][3:4], rel=1e-9)


def test_stars_are_point_like_and_galaxies_are_not():
    size, scale, fwhm = 41, 0.26, 0.9
    y, x = np.mgrid[:size, :size] - 0.5 * (size - 1)
    rng = np.random.default_rng(4)

    def stamp(sigma, flux, q=1.0):
        x0, y0 = rng.uniform(-0.5, 0.5, 2)
        shape = np.exp(-0.5 * ((x - x0) ** 2 + ((y - y0) / q) ** 2) / sigma**2)
        return flux * shape / shape.sum() + rng.normal(size=shape.shape)

    width = fwhm / scale / 2.3548
    stars = np.array([stamp(width, flux) for flux in (1e3, 1e4, 1e5)])
    galaxies = np.array([stamp(1.3 * width, 1e4), stamp(1.8 * width, 1e4, 0.5), stamp(width, 20.0)])
    assert point_like(stars, np.ones(3), fwhm, scale).all()
    assert not point_like(galaxies, np.ones(3), fwhm, scale).any()  # the last one is too faint to tell


@pytest.mark.parametrize("beta", [1.8, 3.0])
def test_wings_make_no_galaxy_of_a_star(beta):
    """Ground-based PSFs have wings that no Gaussian has; a galaxy through the same PSF is still one."""
    shapes = {"star": galsim.DeltaFunction(), "galaxy": galsim.Sersic(4, half_light_radius=0.6)}
    rng = np.random.default_rng(1)
    for name, shape in shapes.items():
        seen = galsim.Convolve(shape, galsim.Moffat(beta, fwhm=SEEING)).shift(0.05, -0.1).withFlux(1e4)
        image = np.array([seen.drawImage(nx=77, ny=77, scale=SCALE).array + rng.normal(size=(77, 77))] * 3)
        found = point_like(image, np.ones(3), np.full(3, SEEING), SCALE, beta)
        assert found.tolist() == [name == "star"] * 3
        assert not point_like(image, np.ones(3), SEEING, SCALE).any()


def test_no_stamps_show_no_stars():
    assert point_like(np.empty((0, 41, 41)), np.empty(0), 0.9, 0.26).shape == (0,)
