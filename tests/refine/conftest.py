import numpy as np
import pytest

from lenspipe.refine.parameters import PLACE, first_vector, make_scene
from lenspipe.refine.projection import Pixels
from lenspipe.simulate.render import render

SIZE, SCALE, SKY = 48, 0.263, 8.0


def draw_lenses(vector, light_flux, source_flux, noise=SKY, seed=0):
    """Return pixels of lenses of two bands with white noise."""
    psf = {"psf_fwhm": np.full((len(vector), 2), 0.9), "psf_beta": np.full((len(vector), 2), np.inf)}
    light, arcs = render(make_scene(vector, psf), SIZE, SCALE)
    image = light * np.array(light_flux) + arcs * np.array(source_flux)
    image = image + np.random.default_rng(seed).normal(0, noise, image.shape)
    return Pixels(image, np.full(image.shape, 1 / noise), psf, SCALE)


@pytest.fixture(scope="session")
def truth():
    vector = first_vector(np.array([1.3, 1.6]))
    for name, values in {
        "e1": (0.1, -0.15), "e2": (0.05, 0.1), "gamma1": (0.03, -0.02), "light_e1": (0.12, -0.1),
        "light_e2": (0.0, 0.12), "x_lens": (0.05, -0.1), "x_src": (0.25, -0.1), "y_src": (-0.1, 0.3),
    }.items():  # fmt: skip
        vector[:, PLACE[name]] = values
    return vector


@pytest.fixture(scope="session")
def pixels(truth):
    return draw_lenses(truth, (8e3, 2e4), (4e3, 3e3))


@pytest.fixture(scope="session")
def draw():
    """Return the function that draws lenses."""
    return draw_lenses
