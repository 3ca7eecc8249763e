"""How fast and how exact is the simulator, against lenstronomy and GalSim on the same scenes in the same run?

    python -m benchmarks.render [--scenes 40]
    KERAS_BACKEND=jax python -m benchmarks.render --device [--batch 1024]

Scenes: plain DES lenses of the population (lens galaxy + one source, SIE + shear), 76 px, gri, Gaussian PSF.
Speed: scenes of three bands per second on one core; for lenspipe also the whole of `lenspipe simulate`, with
the population drawn, noise added and the shard on disk. Error: the largest difference from a converged
reference in units of the pixel's noise, i band, median and 95th percentile over scenes. The reference is GalSim
for the lens's light and lenstronomy's rays on a 9x grid over a wider frame for the arcs. With ``--device`` only
lenspipe's renderer is timed, on the device that JAX finds, with the arithmetic and the memory traffic that XLA
counts.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from astropy.table import Row, Table
from rich.console import Console
from rich.table import Table as Printed

from lenspipe.config import SimulateSection
from lenspipe.core.survey import Survey, load_survey
from lenspipe.imaging.observe import noise_sigma
from lenspipe.io.shards import Shard, write_shard
from lenspipe.simulate.colours import flux_njy
from lenspipe.simulate.render import draw, pack, render
from lenspipe.simulate.scene import build_scene, simulate_stamps

SIZE, BAND = 76, 2  # pixels; i of g, r, i
CONSOLE = Console()


def component(row: Row, part: str, band: str) -> dict[str, float]:
    """Return one Sersic component of a truth row: the lens's light or the unlensed source."""
    q, phi = {"lens": ("q_light", "phi_light"), "src": ("q_src", "phi_src")}[part]
    names = {"r_eff": f"r_{part}", "n": f"n_{part}", "q": q, "phi": phi, "x": f"x_{part}", "y": f"y_{part}"}
    return {"flux": float(flux_njy(row[f"mag_{part}_{band}"]))} | {
        name: float(row[column]) for name, column in names.items()
    }


def deflector(row: Row) -> dict[str, float]:
    """Return the mass of a truth row."""
    names = ("theta_e", "q", "phi", "x_lens", "y_lens", "gamma_ext", "phi_ext")
    return {name: float(row[name]) for name in names}


def draw_reference(row: Row, survey: Survey, band: str) -> np.ndarray:
    """Return the converged image [nJy per pixel]."""
    from tests.oracles import lenstronomy_scene as oracle

    fwhm = float(row[f"psf_fwhm_{band}"])
    light = oracle.galsim_image(component(row, "lens", band), SIZE, survey.pixel_scale, fwhm, np.inf)
    arcs = oracle.lensed_image(
        deflector(row), component(row, "src", band), SIZE, survey.pixel_scale, fwhm, np.inf, 9
    )
    return light + arcs


def draw_with_galsim(row: Row, survey: Survey, band: str) -> np.ndarray:
    """Return the lens's light by GalSim with its usual settings, as its users draw it; no arcs."""
    import galsim

    part = component(row, "lens", band)
    galaxy = galsim.Sersic(part["n"], half_light_radius=part["r_eff"], flux=part["flux"])
    galaxy = galaxy.shear(q=part["q"], beta=(part["phi"] + 90.0) * galsim.degrees).shift(part["x"], part["y"])
    seen = galsim.Convolve([galaxy, galsim.Gaussian(fwhm=float(row[f"psf_fwhm_{band}"]))])
    return seen.drawImage(nx=SIZE, ny=SIZE, scale=survey.pixel_scale).array


def draw_with_lenstronomy(row: Row, survey: Survey, band: str, supersampling: int) -> np.ndarray:
    """Return the image that lenstronomy's own pipeline makes, as its users call it."""
    from lenstronomy.Data.pixel_grid import PixelGrid
    from lenstronomy.Data.psf import PSF
    from lenstronomy.ImSim.image_model import ImageModel
    from lenstronomy.LensModel.lens_model import LensModel
    from lenstronomy.LightModel.light_model import LightModel

    from tests.oracles import lenstronomy_scene as oracle

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


def compare(count: int) -> None:
    """Print rate and error of lenspipe and its peers."""
    survey = gaussian_survey()
    bands = survey.model_bands
    section = SimulateSection(kind="lens", scene="plain")
    truth = simulate_stamps(survey, 1, range(count), section, bands, SIZE)[2]
    exact = np.stack([draw_reference(row, survey, bands[BAND]) for row in truth])
    gain = survey.bands[bands[BAND]].electrons_per_njy()
    noise = noise_sigma(exact, gain, np.asarray(truth[f"sky_sigma_{bands[BAND]}"])[:, None, None])

    rate, images = time_renderer(survey, truth, repeat=-(-200 // count))
    whole = time_simulation(survey, section)
    printed = Printed("", "scenes/s", "lenspipe's rate over it", "error, median", "error, 95 %", box=None)
    printed.add_row("lenspipe, renderer", f"{rate:.0f}", "1", *errors(images[..., BAND], exact, noise))
    printed.add_row("lenspipe simulate", f"{whole:.0f}", f"{rate / whole:.1f}", "", "")
    peers: dict[str, Callable] = {"GalSim, lens light only": draw_with_galsim}
    for factor in (1, 3, 5, 11):
        peers[f"lenstronomy, {factor}x"] = lambda *args, factor=factor: draw_with_lenstronomy(*args, factor)
    for name, function in peers.items():
        few = truth[: min(count, 8)] if name.endswith("11x") else truth
        start = time.perf_counter()
        images = np.stack([np.stack([function(row, survey, band) for band in bands], -1) for row in few])
        peer = len(few) / (time.perf_counter() - start)
        right = exact[: len(few)]
        if function is draw_with_galsim:
            lens = [component(row, "lens", bands[BAND]) for row in few]
            right = np.stack([draw_lens(part, row, survey) for part, row in zip(lens, few, strict=True)])
        wrong = errors(images[..., BAND], right, noise[: len(few)])
        printed.add_row(name, f"{peer:.3g}", f"{rate / peer:.0f} ({whole / peer:.0f} with all)", *wrong)
    CONSOLE.print(printed)
    CONSOLE.print(f"{count} scenes (11x: {min(count, 8)}), seed 1, one core; errors in sigma of the pixel")


def gaussian_survey() -> Survey:
    """Return DES with PSFs that all codes can draw without an error of their own."""
    survey = load_survey("des")
    bands = {name: band.model_copy(update={"psf_beta": np.inf}) for name, band in survey.bands.items()}
    return survey.model_copy(update={"bands": bands, "psf_beta_scatter": 0.0})


def draw_lens(part: dict[str, float], row: Row, survey: Survey) -> np.ndarray:
    """Return GalSim's image of the lens light with tight settings."""
    from tests.oracles.lenstronomy_scene import galsim_image

    fwhm = float(row[f"psf_fwhm_{survey.model_bands[BAND]}"])
    return galsim_image(part, SIZE, survey.pixel_scale, fwhm, np.inf)


def time_renderer(survey: Survey, truth: Table, repeat: int) -> tuple[float, np.ndarray]:
    """Return scenes per second of the compiled renderer, and the images of the truth table."""
    scene = build_scene(survey, 1, truth, survey.model_bands, SIZE)
    light, arcs = render(scene, SIZE, survey.pixel_scale)
    start = time.perf_counter()
    for _ in range(repeat):
        render(scene, SIZE, survey.pixel_scale)
    return repeat * len(truth) / (time.perf_counter() - start), light + arcs


def time_simulation(survey: Survey, section: SimulateSection, count: int = 2048) -> float:
    """Return scenes per second of the whole way from seed to shard on disk, compiled before."""
    bands = survey.model_bands
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        image, noise, _ = simulate_stamps(survey, 2, range(count), section, bands, SIZE)
        shard = Shard(image, noise, bands, survey.pixel_scale, survey.name, 2)
        write_shard(Path(folder) / "shard.h5", shard)
        return count / (time.perf_counter() - start)


def errors(image: np.ndarray, exact: np.ndarray, noise: np.ndarray) -> tuple[str, str]:
    """Return the median and 95th percentile over scenes of the largest difference [sigma]."""
    worst = np.abs((image - exact) / noise).max(axis=(1, 2))
    return f"{np.median(worst):.2f}", f"{np.percentile(worst, 95):.2f}"


def time_device(batch: int, rounds: int = 20) -> None:
    """Print scenes per second of the renderer alone on JAX's device, and what XLA counts of its work."""
    import jax

    survey = gaussian_survey()
    section = SimulateSection(kind="lens", scene="plain")
    truth = simulate_stamps(survey, 1, range(64), section, survey.model_bands, SIZE)[2]
    scene = build_scene(survey, 1, truth, survey.model_bands, SIZE)
    arrays, profiles = pack(scene, SIZE, survey.pixel_scale)
    rows = np.arange(batch) % 64
    arrays = {key: jax.device_put(value[rows]) for key, value in arrays.items()}
    function = jax.jit(lambda packed: draw(packed, profiles, SIZE, survey.pixel_scale))
    work = function.lower(arrays).compile().cost_analysis()
    work = work[0] if isinstance(work, list) else work
    jax.block_until_ready(function(arrays))
    start = time.perf_counter()
    for _ in range(rounds):
        images = function(arrays)
    jax.block_until_ready(images)
    rate = rounds * batch / (time.perf_counter() - start)
    CONSOLE.print(
        f"{jax.devices()[0].device_kind}: {rate:.0f} scenes/s in batches of {batch}; "
        f"{work.get('flops', 0) / batch * rate / 1e12:.2f} TFLOP/s, "
        f"{work.get('bytes accessed', 0) / batch * rate / 1e9:.0f} GB/s (as XLA counts them)"
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=int, default=40)
    parser.add_argument("--device", action="store_true")
    parser.add_argument("--batch", type=int, default=1024)
    options = parser.parse_args()
    if not options.device:
        compare(options.scenes)
    elif keras.backend.backend() != "jax":
        parser.error("--device needs KERAS_BACKEND=jax")
    else:
        time_device(options.batch)


if __name__ == "__main__":
    main()
