"""Do two workers train five folds in half the time of one?

    python -m benchmarks.folds [--count 4000] [--epochs 6] [--architecture swift] [--folds 5]

One worker, then two, one thread each, on the same simulated set; the networks must be the same. Run it on a machine
with at least two idle cores.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from benchmarks.command import lenspipe
from lenspipe.io.files import digest


def main() -> None:
    """Print seconds and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--architecture", default="swift")
    parser.add_argument("--folds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lenspipe-") as name:
        folder = Path(name)
        lenspipe("simulate", "--survey", "des", "--count", str(options.count), "--out", str(folder / "set"))
        seconds, weights = [], []
        for workers in (1, 2):
            out = folder / f"model-{workers}"
            words = ("train", "detector", "--data", str(folder / "set"), "--out", str(out))
            words += ("--architecture", options.architecture, "--folds", str(options.folds))
            started = time.monotonic()
            lenspipe(*words, "--epochs", str(options.epochs), "--workers", str(workers))
            seconds.append(time.monotonic() - started)
            weights.append([digest(path) for path in sorted(out.glob("fold-*.keras"))])
    print(
        f"{options.folds} folds of {options.architecture}, {options.count} stamps, {options.epochs} epochs, on "
        f"{len(os.sched_getaffinity(0))} cores: {seconds[0]:.0f} s with one worker, {seconds[1]:.0f} s with two: "
        f"{seconds[1] / seconds[0]:.2f}; networks {'the same' if weights[0] == weights[1] else 'DIFFER'}"
    )


if __name__ == "__main__":
    main()
