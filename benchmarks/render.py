"""How fast and how exact is the renderer, against lenstronomy on the same scenes in the same run?

    python -m benchmarks.render [--scenes 24]

Scenes: DES lenses drawn from the population (lens galaxy + one source, SIE + shear), 64 px, gri, Gaussian
PSF. Speed: images of three bands per second on one core. Error: the largest difference from a converged
reference in units of the pixel's noise, i band, median and 95th percentile over scenes. The reference is
GalSim for the lens's light and lenstronomy's ray shooting on a 9x grid for the arcs.
"""

from __future__ import annotations

import argparse
import os
import time

for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from astropy.table import Table
from lenstronomy.Data.pixel_grid import PixelGrid
from lenstronomy.Data.psf import PSF
from lenstronomy.ImSim.image_model import ImageModel
from lenstronomy.LensModel.lens_model import LensModel
from lenstronomy.LightModel.light_model import LightModel
from rich.console import Console
from rich.table import Table as Printed

from lenspipe.core.survey import Survey, load_survey
from lenspipe.simulate.colours import flux_njy
from lenspipe.simulate.population import draw_lenses
from lenspipe.simulate.render import compile_render, render
from lenspipe.simulate.scene import build_scene
from tests.oracles import lenstronomy_scene as oracle

SIZE = 64


def component(row, part: str, band: str) -> dict[str, float]:
    """Return one Sersic component of a truth row: the lens's light or the unlensed source."""
    names = {"lens": ("lens", "q_light", "phi_light"), "src": ("src", "q_src", "phi_src")}[part]
    return {
        "flux": float(flux_njy(row[f"mag_{names[0]}_{band}"])),
        "r_eff": float(row[f"r_{names[0]}"]),
        "n": float(row[f"n_{names[0]}"]),
        "q": float(row[names[1]]),
        "phi": float(row[names[2]]),
        "x": float(row[f"x_{names[0]}"]),
        "y": float(row[f"y_{names[0]}"]),
    }


def deflector(row) -> dict[str, float]:
    """Return the mass of a truth row."""
    return {
        key: float(row[key]) for key in ("theta_e", "q", "phi", "x_lens", "y_lens", "gamma_ext", "phi_ext")
    }


def reference(row, survey: Survey, band: str) -> np.ndarray:
    """Return the converged image [nJy per pixel]."""
    fwhm = float(row[f"psf_fwhm_{band}"])
    light = oracle.galsim_image(component(row, "lens", band), SIZE, survey.pixel_scale, fwhm, np.inf)
    arcs = oracle.lensed_image(
        deflector(row), component(row, "src", band), SIZE, survey.pixel_scale, fwhm, np.inf, 9
    )
    return light + arcs


def draw_with_lenstronomy(row, survey: Survey, band: str, supersampling: int) -> np.ndarray:
    """Return the image that lenstronomy's own pipeline makes, as its users call it."""
    mass, scale = deflector(row), survey.pixel_scale
    t = oracle.direction(mass["phi_ext"])
    shear = {"gamma1": mass["gamma_ext"] * np.cos(2 * t), "gamma2": mass["gamma_ext"] * np.sin(2 * t)}
    sie = oracle.sie_parameters(*(mass[k] for k in ("theta_e", "q", "phi", "x_lens", "y_lens")))
    corner = -0.5 * (SIZE - 1) * scale
    grid = PixelGrid(SIZE, SIZE, np.diag([scale, scale]), corner, corner)
    psf = PSF("GAUSSIAN", fwhm=float(row[f"psf_fwhm_{band}"]), pixel_size=scale, truncation=5)
    numerics = {"supersampling_factor": supersampling, "supersampling_convolution": supersampling > 3}
    light = LightModel(["SERSIC_ELLIPSE"])
    model = ImageModel(grid, psf, LensModel(["SIE", "SHEAR"]), light, light, kwargs_numerics=numerics)
    parameters = [[oracle.sersic_parameters(**component(row, part, band))] for part in ("src", "lens")]
    return model.image([sie, shear], *parameters)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=int, default=24)
    count = parser.parse_args().scenes
    survey = load_survey("des")
    bands = survey.model_bands
    truth: Table = draw_lenses(survey, 1, range(count), bands)
    truth["psf_beta"] = np.inf
    band = survey.bands["i"]
    exact = np.stack([reference(row, survey, "i") for row in truth])
    sky = np.asarray(truth["sky_sigma_i"])[:, None, None]
    noise = np.sqrt(sky**2 + np.clip(exact, 0, None) / band.electrons_per_njy())

    printed = Printed("renderer", "images/s", "ratio", "error, median", "error, 95 %", box=None)
    scene = build_scene(survey, 1, truth, bands, SIZE, full=False)
    compiled = compile_render(SIZE, survey.pixel_scale)
    compiled(scene)
    start = time.perf_counter()
    light, arcs = compiled(scene)
    ours = count / (time.perf_counter() - start)
    errors = error(light[..., 2] + arcs[..., 2], exact, noise)
    printed.add_row("lenspipe, compiled", f"{ours:.0f}", "1", *errors)
    start = time.perf_counter()
    light, arcs = (keras.ops.convert_to_numpy(part) for part in render(scene, SIZE, survey.pixel_scale))
    eager = count / (time.perf_counter() - start)
    printed.add_row("lenspipe, eager", f"{eager:.0f}", f"{ours / eager:.1f}", *errors)
    for factor in (1, 3, 5):
        start = time.perf_counter()
        images = [[draw_with_lenstronomy(row, survey, b, factor) for b in bands] for row in truth]
        speed = count / (time.perf_counter() - start)
        errors = error(np.stack([image[2] for image in images]), exact, noise)
        printed.add_row(f"lenstronomy, {factor}x", f"{speed:.0f}", f"{ours / speed:.1f}", *errors)
    console = Console()
    console.print(printed)
    console.print(
        f"{count} scenes, seed 1, one core; errors in sigma of the pixel; ratio = lenspipe's speed over it"
    )


def error(image: np.ndarray, exact: np.ndarray, noise: np.ndarray) -> tuple[str, str]:
    """Return the median and 95th percentile over scenes of the largest difference [sigma]."""
    worst = np.abs((image - exact) / noise).max(axis=(1, 2))
    return f"{np.median(worst):.2f}", f"{np.percentile(worst, 95):.2f}"


if __name__ == "__main__":
    main()
