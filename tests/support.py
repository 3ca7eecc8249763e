"""A whole run, small enough for tests: two mock tiles, tiny training sets, networks of one epoch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

RECIPE = """
survey = "des"

[simulate]
count = 48
size = 48
shard_size = 24

[simulate.tiles]
count = 2
size = 300
lenses = 3

[train.detector]
folds = 2
epochs = 1
batch_size = 16

[train.regressor]
folds = 2
epochs = 2
batch_size = 8

[find]
mc_samples = 4
batch_size = 16

[model]
mc_samples = 8
batch_size = 16

[catalog]
threshold = 0.0
"""


def lenspipe(*arguments: str | Path, timeout: float = 280) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, as a user would."""
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=timeout, check=False, env=environment()
    )


def command(*arguments: str | Path) -> list[str]:
    """Return the words of a command line."""
    return [sys.executable, "-c", "from lenspipe.cli import main; main()", *map(str, arguments)]


def environment() -> dict[str, str]:
    """Return the environment of a user whose machine has no GPU and no wide terminal."""
    return {**os.environ, "CUDA_VISIBLE_DEVICES": "", "COLUMNS": "200", "NO_COLOR": "1"}


def small_swift(size: int, bands: int, widths=(4, 4, 4, 4), **settings):
    """Return a detector that is built and run in no time."""
    from functools import partial

    from lenspipe.networks.classifier import build_classifier
    from lenspipe.networks.swift import swift_trunk

    return build_classifier(partial(swift_trunk, widths=widths), "swift", size, bands, **settings)


#: Side of the stamps of detectors that were never trained [px].
SIZE = 32


def write_detector(folder, seed, folds=1, bands="gri", pixel_scale=0.263, temperature=1.0, channels=()):
    """Write a detector of small networks that were never trained."""
    from lenspipe.io.files import digest, write_json
    from lenspipe.training.load import save_model

    folder.mkdir(parents=True)
    names = [f"fold-{k}.keras" for k in range(folds)]
    for k, name in enumerate(names):
        network = small_swift(
            SIZE, len(bands), dropout=0.3, seed=seed + k, widths=(4, 8, 8, 16), channels=channels
        )
        save_model(network, folder / name)
    card = {
        "task": "detector",
        "architecture": "swift",
        "bands": list(bands),
        "pixel_scale": pixel_scale,
        "stamp_size": SIZE,
        "targets": {},
        "weights": {name: digest(folder / name) for name in names},
        "folds": [{"fold": k, "n_train": 0, "n_test": 0} for k in range(folds)],
        "training": {"survey": "des", "data_hash": "", "settings": {"epochs": 0, "channels": channels}},
        "calibration": {"temperature": temperature, "train_prior": 0.5, "lens_prior": 1e-3},
        "metrics": {},
    }
    write_json(folder / "metrics.json", {})
    write_json(folder / "bundle.json", card)
    return folder


def convolutions(model) -> list[tuple[int, int, int]]:
    """Return height, width [px] and channels of the convolutions of a network's trunk, in order."""
    layers = model.get_layer("trunk").layers
    return [(*layer.kernel_size, layer.filters) for layer in layers if type(layer).__name__ == "Conv2D"]
