"""How much of a lens do radial profiles tell?

    python -m benchmarks.profiles TRAIN TEST [--crop 48]

A perceptron learns theta_e, sigma_v and redshifts from the radial profiles of TRAIN, a simulated set of lenses, and is
tested on TEST, another one. A network that is no better has not looked at the arcs.
"""

from __future__ import annotations

import argparse

import numpy as np
from rich.console import Console
from rich.table import Table as Printed

from lenspipe.config import TARGETS
from lenspipe.training.datasets import load_stamps
from lenspipe.training.profiles import MOST, predict_from_profiles
from lenspipe.training.targets import from_network, to_network


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("train")
    parser.add_argument("test")
    parser.add_argument("--crop", type=int, default=48)
    options = parser.parse_args()
    train, test = (load_stamps(folder, True, False, options.crop) for folder in (options.train, options.test))
    some = np.arange(min(len(train), MOST))
    truth = to_network(train.targets(TARGETS)[some], TARGETS)
    found = predict_from_profiles(train.inputs(some), truth, test.inputs(), seed=1)
    table = Printed(title=f"{len(some):,} lenses learnt, {len(test):,} tested")
    for column in ("target", "bias", "68 % scatter"):
        table.add_column(column)
    for k, (name, true) in enumerate(zip(TARGETS, test.targets(TARGETS).T, strict=True)):
        low, middle, high = np.percentile(from_network(found[:, k], name) / true - 1, (16, 50, 84))
        table.add_row(name, f"{middle:+.3f}", f"{(high - low) / 2:.3f}")
    Console().print(table)


if __name__ == "__main__":
    main()
