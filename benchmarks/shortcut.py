"""How far does a shortcut get: are lenses told by colour, brightness and concentration, without seeing arcs?

    python -m benchmarks.shortcut [--count 4000] [--seed 1] [--survey des]

A mixed training set with the default mixture of non-lenses and all effects is simulated; a logistic regression
sees no shapes, cross-validated in five folds. 0.5 = it is blind; above 0.8 a network would learn the shortcut.
"""

from __future__ import annotations

import argparse

import numpy as np

from lenspipe.config import SimulateSection
from lenspipe.core.survey import load_survey
from lenspipe.simulate.scene import simulate_stamps
from lenspipe.training.shortcut import shortcut_auroc


def main() -> None:
    """Print the shortcut's AUROC and its error."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--survey", default="des")
    options = parser.parse_args()
    survey = load_survey(options.survey)
    image, sky, truth = simulate_stamps(
        survey, options.seed, range(options.count), SimulateSection(), survey.model_bands, survey.stamp_size
    )
    is_lens = np.asarray(truth["kind"], str) == "lens"
    auroc, error = shortcut_auroc(image, sky, is_lens, survey.pixel_scale, options.seed)
    print(f"AUROC {auroc:.3f} +- {error:.3f} ({options.count} stamps of {survey.name}, seed {options.seed})")


if __name__ == "__main__":
    main()
