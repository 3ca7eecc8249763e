"""How good and how fast are models fitted to the pixels, beside lenstronomy's particle swarm on the same scenes?

    python -m benchmarks.refine [--count 64] [--seed 7] [--peer 0] [--full]

Scenes: lenses of the DES population, 76 px, gri, plain (lens galaxy, one source, PSF, white noise) or, with ``--full``,
with all realism of training sets. Both begin with a network's word, here the true theta_e with an error of 8 %.
lenstronomy (``--peer N`` of the scenes) fits the same model to the three bands: 60 particles, 100 steps, within the
same ranges, fluxes solved linearly; more steps would serve it better, at a price in proportion. It takes
minutes a lens and needs `pip install tqdm`, which it does not install itself. Times are seconds a lens, the compilation
of the renderer left out.
"""

from __future__ import annotations

import argparse
import os
import time
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from astropy.table import Table
from rich.console import Console

from benchmarks.render import gaussian_survey
from lenspipe.config import SimulateSection
from lenspipe.core.survey import Survey
from lenspipe.io.shards import Shard
from lenspipe.refine.fit import Refined, refine_lenses
from lenspipe.refine.parameters import PLACE
from lenspipe.refine.projection import Pixels
from lenspipe.refine.stamps import find_failed, weigh_stamps
from lenspipe.simulate.scene import simulate_stamps

#: Error of the word that fits begin with.
GUESSED = 0.08
PARTICLES, STEPS = 60, 100
CONSOLE = Console()


def weigh(image: np.ndarray, sky: np.ndarray, truth: Table, survey: Survey) -> Pixels:
    """Return simulated stamps as what is fitted, PSF and gain known."""
    bands = survey.model_bands
    gain = [survey.bands[band].electrons_per_njy() for band in bands]
    fwhm = np.stack([truth[f"psf_fwhm_{band}"] for band in bands], axis=1)
    shard = Shard(image, sky, bands, survey.pixel_scale, survey.name, 0, fwhm, np.tile(gain, (len(image), 1)))
    return weigh_stamps(shard, survey)


def tell(name: str, found: Refined, truth: Table) -> None:
    """Print how far theta_e is off, how honest its errors are and how many fits failed."""
    true = np.asarray(truth["theta_e"])
    k = PLACE["theta_e"]
    off, error = found.vector[:, k] / true - 1.0, found.sigma[:, k] / true
    good = ~find_failed(found)
    for least in (20, 50, 100):
        rows = good & (np.asarray(truth["snr"]) > least)
        if rows.sum() < 3:
            continue
        low, middle, high = np.percentile(100 * off[rows], [16, 50, 84])
        pull = np.abs(off[rows]) / error[rows]
        CONSOLE.print(
            f"{name}, S/N > {least}: theta_e off by {(high - low) / 2:.2f} % (68 %), median {middle:+.2f} %, "
            f"error told {100 * np.median(error[rows]):.2f} %, within it {np.mean(pull < 1):.2f}, "
            f"beyond three of it {np.mean(pull > 3):.2f}; {rows.sum()} lenses"
        )
    CONSOLE.print(f"{name}: {np.sum(~good)} of {len(good)} flagged as failed")


def swarm(pixels: Pixels, row: int, guess: float) -> float:
    """Return lenstronomy's theta_e of one lens after a particle swarm."""
    from lenstronomy.Workflow.fitting_sequence import FittingSequence

    bands = []
    for b in range(pixels.image.shape[-1]):
        weight = pixels.inverse_sigma[row, ..., b]
        half = 0.5 * (pixels.image.shape[1] - 1) * pixels.pixel_scale
        data = {
            "image_data": pixels.image[row, ..., b],
            "noise_map": 1.0 / weight,
            "ra_at_xy_0": -half,
            "dec_at_xy_0": -half,
            "transform_pix2angle": np.eye(2) * pixels.pixel_scale,
        }
        psf = {"psf_type": "GAUSSIAN", "fwhm": float(pixels.psf["psf_fwhm"][row, b])}
        bands.append([data, psf, {"supersampling_factor": 3, "supersampling_convolution": True}])
    ellipse = {"e1": 0.0, "e2": 0.0, "center_x": 0.0, "center_y": 0.0}
    limits = ({**dict.fromkeys(ellipse, -0.5)}, {**dict.fromkeys(ellipse, 0.5)})
    place = {"center_x": 0.8 * guess, "center_y": 0.8 * guess}
    light = {"R_sersic": 0.8, "n_sersic": 4.0, **ellipse}
    source = {"R_sersic": 0.25, **ellipse}
    spread = dict.fromkeys(ellipse, 0.15)

    def parameters(first, widths, fixed, low, high) -> list[list[dict[str, Any]]]:
        return [[first], [widths], [fixed], [low], [high]]

    mass = ({"theta_E": guess, **ellipse}, {"theta_E": GUESSED * guess, **spread}, {})
    shear = ({"gamma1": 0.0, "gamma2": 0.0}, {"gamma1": 0.05, "gamma2": 0.05}, {"ra_0": 0, "dec_0": 0})
    shear_low, shear_high = ({"gamma1": s * 0.3, "gamma2": s * 0.3} for s in (-1, 1))
    lens = [[mass[k], shear[k]] for k in range(3)] + [
        [{"theta_E": 0.3 * guess, **limits[0]}, shear_low],
        [{"theta_E": 3 * guess, **limits[1]}, shear_high],
    ]
    sequence = FittingSequence(
        {"multi_band_list": bands, "multi_band_type": "multi-linear"},
        {"lens_model_list": ["SIE", "SHEAR"], "lens_light_model_list": ["SERSIC_ELLIPSE"],
         "source_light_model_list": ["SERSIC_ELLIPSE"]},
        {"joint_lens_with_light": [[0, 0, ["center_x", "center_y"]]]},
        {},
        {
            "lens_model": lens,
            "lens_light_model": parameters(
                light, {"R_sersic": 0.3, "n_sersic": 1.0, **spread}, {},
                {"R_sersic": 0.05, "n_sersic": 0.6, **limits[0]}, {"R_sersic": 8.0, "n_sersic": 5.9, **limits[1]},
            ),
            "source_model": parameters(
                source, {"R_sersic": 0.1, **spread, **dict.fromkeys(place, 0.3 * guess)}, {"n_sersic": 1.0},
                {"R_sersic": 0.02, **limits[0], **{k: -v for k, v in place.items()}},
                {"R_sersic": 3.0, **limits[1], **place},
            ),
        },
        verbose=False,
    )  # fmt: skip
    sequence.fit_sequence([["PSO", {"sigma_scale": 1.0, "n_particles": PARTICLES, "n_iterations": STEPS}]])
    return float(sequence.best_fit()["kwargs_lens"][0]["theta_E"])


def main() -> None:
    """Print both fits' errors and times."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--peer", type=int, default=0, help="scenes for lenstronomy")
    parser.add_argument("--full", action="store_true", help="all realism of training sets")
    options = parser.parse_args()
    survey = gaussian_survey()
    section = SimulateSection(kind="lens", scene="full" if options.full else "plain")
    image, sky, truth = simulate_stamps(
        survey, options.seed, range(options.count), section, survey.model_bands, survey.stamp_size
    )
    pixels, true = weigh(image, sky, truth, survey), np.asarray(truth["theta_e"])
    rng = np.random.default_rng(options.seed)
    guess = true * np.exp(rng.normal(0.0, GUESSED, len(true)))
    few = np.arange(min(8, len(true)))
    refine_lenses(pixels.take(few), guess[few], GUESSED * guess[few])  # compiles
    started = time.perf_counter()
    found = refine_lenses(pixels, guess, GUESSED * guess)
    seconds = (time.perf_counter() - started) / len(true)
    tell("lenspipe", found, truth)
    CONSOLE.print(f"lenspipe: {seconds:.2f} s a lens, {len(true)} lenses together")
    if not options.peer:
        return
    off, times = [], []
    for row in range(options.peer):
        np.random.seed(options.seed + row)  # noqa: NPY002 - it is what lenstronomy draws from
        started = time.perf_counter()
        off.append(swarm(pixels, row, guess[row]) / true[row] - 1.0)
        times.append(time.perf_counter() - started)
    ours = (found.vector[: options.peer, PLACE["theta_e"]] / true[: options.peer] - 1.0).tolist()
    for name, values in (("lenstronomy", off), ("lenspipe", ours)):
        CONSOLE.print(
            f"{name}, the same {options.peer}: median |error| {100 * np.median(np.abs(values)):.2f} %"
        )
    CONSOLE.print(
        f"lenstronomy: {np.median(times):.1f} s a lens (median), {np.median(times) / seconds:.0f} times lenspipe's"
    )


if __name__ == "__main__":
    main()
