"""How long does a slip take, beside a minimisation for every resampling?

    python -m benchmarks.slip [--lenses 18600] [--realizations 100]

Both mass models, with bootstrap, jackknife and splits. The peer is what one would write down first: for each
resampling, scipy's `minimize_scalar` over gamma of the isothermal likelihood; it is run for a tenth of the resamplings.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from astropy.table import Table
from rich.console import Console
from rich.table import Table as Printed
from scipy.optimize import minimize_scalar
from scipy.stats import norm

from lenspipe.lensing.cosmology import sis_sigma_v, sis_theta_e
from lenspipe.lensing.slip import infer_gamma
from lenspipe.lensing.slip_model import SlipModel

TURNS = 3


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--lenses", type=int, default=18_600)
    parser.add_argument("--realizations", type=int, default=100)
    options = parser.parse_args()
    lenses = draw_sample(options.lenses, np.random.default_rng(1))
    some = max(1, options.realizations // 10)
    seconds = {
        "isothermal": measure(lambda: infer_gamma(lenses, options.realizations)),
        "power law": measure(lambda: infer_gamma(lenses, options.realizations, model=SlipModel("powerlaw"))),
    }
    peer = measure(lambda: minimise_each(lenses, some)) * options.realizations / some
    table = Printed(title=f"{options.lenses:,} lenses, {options.realizations} realizations")
    for column in ("", "seconds", "scipy's minimize_scalar takes so much longer"):
        table.add_column(column)
    for name, took in seconds.items():
        table.add_row(name, f"{took:.2f}", f"{peer / took:.1f}")
    Console().print(table)


def draw_sample(count: int, rng: np.random.Generator) -> Table:
    """Return isothermal lenses in general relativity, with spectra of 9 %."""
    z_lens = rng.uniform(0.1, 0.9, count)
    z_src = z_lens + rng.uniform(0.4, 2.0, count)
    sigma_v = rng.uniform(180, 340, count)
    table = Table({"z_lens": z_lens, "z_src": z_src, "theta_e": sis_theta_e(sigma_v, z_lens, z_src)})
    table["sigma_v"] = sigma_v * (1 + 0.09 * rng.normal(size=count))
    table["sigma_v_err"] = 0.09 * sigma_v
    return table


def minimise_each(lenses: Table, realizations: int) -> list[float]:
    """Return the likeliest gamma of each resampling of isothermal lenses."""
    rng, found = np.random.default_rng(1), []
    for _ in range(realizations):
        rows = lenses[rng.integers(len(lenses), size=len(lenses))]
        expected = sis_sigma_v(rows["theta_e"], rows["z_lens"], rows["z_src"])

        def cost(gamma: float, rows: Table = rows, expected: np.ndarray = expected) -> float:
            slipped = expected * np.sqrt(2 / (1 + gamma))
            return -float(np.sum(norm.logpdf(rows["sigma_v"], slipped, rows["sigma_v_err"])))

        found.append(float(minimize_scalar(cost, bounds=(-0.8, 4.0), method="bounded").x))
    return found


def measure(work) -> float:
    """Return the median seconds of some turns, after one that does not count."""
    took = []
    for _ in range(TURNS + 1):
        start = time.perf_counter()
        work()
        took.append(time.perf_counter() - start)
    return float(np.median(took[1:]))


if __name__ == "__main__":
    main()
