"""What does a regressor make of stamps that are not as it was trained on, and does it know?

    python -m benchmarks.robustness REGRESSOR [--count 2000] [--seed 33]

REGRESSOR is a packaged model's name or a bundle's folder. Lenses of its survey are simulated in full scenes, which it
has not seen, and seen once more

- with the zero point of one band off, the stamp moved by a pixel, the seeing a tenth wider, a quarter of the stamp not
  usable, a band missing: how far does theta_e move (median and 68 % of the changes, against the same stamp as it was),
  and how often does the 68 % interval still hold the truth?
- as something else: other kinds of object, pure noise, another survey's pixels, lenses of groups and clusters. How well
  does the novelty tell these from lenses held out (AUROC), how many are flagged, how much do the error bars of theta_e
  grow?
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from astropy.table import Table
from rich.console import Console
from rich.table import Table as Printed
from sklearn.metrics import roc_auc_score

from lenspipe.config import SimulateSection
from lenspipe.core.survey import Survey, load_survey
from lenspipe.imaging.stamps import FILLED, mend_stamps
from lenspipe.simulate.scene import redraw, simulate_stamps
from lenspipe.training.bundle import Bundle, load_bundle
from lenspipe.training.posterior import Posterior, Posteriors, sample_posteriors

PASSES = 50
#: Surveys whose pixels are another scale's, fed as if they were the regressor's own.
OTHERS = ("kids", "hsc")
#: Lenses of groups beyond this have larger theta_e [arcsec] than any that the regressors are trained on.
BEYOND = 4.5
Images = tuple[np.ndarray, np.ndarray]


def ask(bundle: Bundle, images: Images) -> Posteriors:
    """Return the posteriors of stamps and their noise."""
    return sample_posteriors(bundle, *images, mc_samples=PASSES, seed=1, batch_size=256)


def disturb(
    survey: Survey, bands: list[str], images: Images, seen: Callable[[float], np.ndarray]
) -> Iterator[tuple[str, Images]]:
    """Yield what is done to the stamps, and the stamps; `seen` draws them under wider seeing."""
    image, noise = images
    for percent in (2, -2, 5, -5):
        for b, band in enumerate(bands):
            factor = np.ones(len(bands), np.float32)
            factor[b] += percent / 100
            yield f"{band} {percent:+d} %", (image * factor, noise)
    yield "moved by 1 px", (np.roll(image, 1, axis=2), noise)
    yield "seeing 10 % wider", (seen(1.1), noise)
    yield "seeing 10 % sharper", (seen(1 / 1.1), noise)
    holes = np.zeros(image.shape, np.uint8)
    middle = image.shape[1] // 2
    holes[:, :middle, :middle] = FILLED
    yield "a quarter not usable", (mend_stamps(image, holes), noise)
    for b, band in enumerate(bands):
        missing = image.copy()
        missing[..., b] = 0.0
        yield f"no {band}", (missing, noise)


def strange(
    survey: Survey, bands: list[str], count: int, seed: int, size: int
) -> Iterator[tuple[str, Images]]:
    """Yield what is no lens of the training's kind, and its stamps."""
    for kind in ("spiral", "elliptical", "companion", "ring", "star", "group"):
        section = SimulateSection(kind="nonlens", mixture={kind: 1.0})
        image, noise, _ = simulate_stamps(survey, seed, range(count), section, bands, size)
        yield kind, (image, noise)
    yield "pure noise", (np.random.default_rng(seed).normal(size=image.shape) * noise[:, None, None], noise)
    for name in OTHERS:
        other = load_survey(name)
        image, noise, _ = simulate_stamps(
            other, seed, range(count), SimulateSection(kind="lens"), bands, size
        )
        yield f'lenses of {name}, {other.pixel_scale}" pixels', (image, noise)
    section = SimulateSection(kind="lens", groups=1.0)
    image, noise, truth = simulate_stamps(survey, seed, range(4 * count), section, bands, size)
    beyond = np.asarray(truth["theta_e"]) > BEYOND
    yield f'theta_e > {BEYOND}" ({beyond.sum()})', (image[beyond], noise[beyond])


def print_disturbed(bundle: Bundle, survey: Survey, images: Images, truth: Table, seed: int) -> None:
    """Print how far theta_e moves, and whether its interval holds the truth."""
    bands, true = list(bundle.bands), np.asarray(truth["theta_e"])

    def seen(factor: float) -> np.ndarray:
        other = truth.copy()
        for band in bands:
            other[f"psf_fwhm_{band}"] *= factor
        return redraw(survey, seed, other, SimulateSection(kind="lens"), bands, images[0].shape[1])

    usual = ask(bundle, images)["theta_e"]
    table = Printed(title=f"{len(true):,} lenses disturbed: theta_e")
    for column in ("what", "median change %", "68 % of |changes| %", "truth within 68 %", "error / usual"):
        table.add_column(column)
    table.add_row("as it is", "", "", f"{_held(usual, true):.3f}", "1.00")
    for what, stamps in disturb(survey, bands, images, seen):
        got = ask(bundle, stamps)["theta_e"]
        change = 100 * (got.median / usual.median - 1)
        grown = np.median(_half(got) / _half(usual))
        table.add_row(
            what,
            f"{np.median(change):+.2f}",
            f"{np.quantile(np.abs(change), 0.68):.2f}",
            f"{_held(got, true):.3f}",
            f"{grown:.2f}",
        )
    Console(width=110).print(table)


def print_strange(bundle: Bundle, survey: Survey, images: Images, count: int, seed: int) -> None:
    """Print how well novelty tells what is strange, and how error bars grow."""
    bands, size = list(bundle.bands), images[0].shape[1]
    usual = ask(bundle, images)
    table = Printed(title="unlike the training")
    for column in ("what", "AUROC of novelty", "flagged %", "theta_e's error / usual"):
        table.add_column(column)
    table.add_row("lenses held out", "", f"{100 * np.mean(usual.novelty > 1):.1f}", "1.00")
    for what, stamps in strange(survey, bands, count, seed, size):
        got = ask(bundle, (stamps[0].astype(np.float32), stamps[1]))
        label = np.repeat([0, 1], [len(usual.novelty), len(got.novelty)])
        auroc = roc_auc_score(label, np.concatenate([usual.novelty, got.novelty]))
        grown = np.median(_half(got["theta_e"])) / np.median(_half(usual["theta_e"]))
        table.add_row(what, f"{auroc:.3f}", f"{100 * np.mean(got.novelty > 1):.1f}", f"{grown:.2f}")
    Console(width=110).print(table)


def _held(posterior: Posterior, true: np.ndarray) -> float:
    """Return the share of truths within the 68 % interval."""
    low, high = posterior.median - posterior.err_lo, posterior.median + posterior.err_hi
    return float(np.mean((low <= true) & (true <= high)))


def _half(posterior: Posterior) -> np.ndarray:
    """Return half the width of the 68 % interval, as a fraction of the median."""
    return 0.5 * (posterior.err_lo + posterior.err_hi) / posterior.median


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("regressor")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=33)
    options = parser.parse_args()
    bundle = load_bundle(options.regressor)
    survey = load_survey(bundle.card["training"]["survey"])
    size = bundle.card["stamp_size"]
    image, noise, truth = simulate_stamps(
        survey, options.seed, range(options.count), SimulateSection(kind="lens"), bundle.bands, size
    )
    print_disturbed(bundle, survey, (image, noise), truth, options.seed)
    print_strange(bundle, survey, (image, noise), options.count // 4, options.seed)


if __name__ == "__main__":
    main()
