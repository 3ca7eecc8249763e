"""What do dropout passes cost, when the trunk runs once?

    python -m benchmarks.passes REGRESSOR [--batch 512] [--batches 4]

Prints the posteriors per second of a regressor (a packaged model's name or a bundle's folder) with 2, 100 and 1,000
passes, on noise: its content does not matter. One pass has no spread, so that the ratio is to two.
"""

from __future__ import annotations

import argparse
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from rich.console import Console
from rich.table import Table as Printed

from lenspipe.training.bundle import load_bundle
from lenspipe.training.posterior import sample_posteriors

PASSES, TURNS = (2, 100, 1000), 3


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("regressor")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--batches", type=int, default=4)
    options = parser.parse_args()
    bundle = load_bundle(options.regressor)
    side, count = bundle.card["stamp_size"], options.batch * options.batches
    image = np.random.default_rng(1).normal(size=(count, side, side, len(bundle.bands))).astype(np.float32)
    noise = np.ones((count, len(bundle.bands)), np.float32)
    seconds: dict[int, list[float]] = {passes: [] for passes in PASSES}
    for _ in range(TURNS + 1):
        for passes, took in seconds.items():
            start = time.perf_counter()
            sample_posteriors(bundle, image, noise, passes, 1, options.batch)
            took.append(time.perf_counter() - start)
    table = Printed(title=f"{options.regressor}, batches of {options.batch}")
    for column in ("passes", "lenses/s", "cost over 2 passes"):
        table.add_column(column)
    median = {
        passes: float(np.median(took[1:])) for passes, took in seconds.items()
    }  # the first turn compiles
    for passes, took in median.items():
        table.add_row(f"{passes:,}", f"{count / took:.0f}", f"{took / median[PASSES[0]]:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
