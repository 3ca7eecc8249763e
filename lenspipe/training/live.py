"""Training on stamps that are drawn on the device as they are needed (`simulate.live`), not read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from lenspipe.config import Config, load_config
from lenspipe.core.errors import InputError
from lenspipe.core.survey import load_survey
from lenspipe.simulate.live import LiveSet, LiveStamps, pack_truth
from lenspipe.simulate.scene import redraw
from lenspipe.training.batches import split_rows
from lenspipe.training.datasets import StampSet

#: Stamps that are drawn again to see that a set's truth, settings and this code belong together.
_CHECKED = 4
#: Largest difference of a stamp from the one stored [its noise].
_SAME = 0.01


def pack_stamps(stamps: StampSet, rows: np.ndarray) -> LiveSet:
    """Return the scenes of some of a simulated set's stamps.

    Raises
    ------
    InputError
        If it is not one set made by `lenspipe simulate` with this code, whose settings lie beside it.
    """
    config = _settings_of(stamps)
    survey = load_survey(config.survey)
    truth = stamps.truth[rows]
    effects = config.simulate.effects()
    first = truth[:_CHECKED]
    again = redraw(survey, config.run.seed, first, config.simulate, stamps.bands, stamps.size)
    unlike = np.abs(again - stamps.image[rows[:_CHECKED]]) / stamps.noise_sigma[rows[:_CHECKED], None, None]
    if unlike.max() > _SAME:
        raise InputError(
            f"{stamps.source}: stamp {first['sample_id'][0]} drawn again from its truth is another one by "
            f"{unlike.max():.3g} sigma; the set was made by another version: simulate it again, or train without live"
        )
    return pack_truth(survey, config.run.seed, truth, stamps.bands, stamps.size, effects)


def _settings_of(stamps: StampSet) -> Config:
    if "set" in stamps.truth.colnames:
        raise InputError(f"live training draws from one simulated set; received {stamps.source}")
    folder = Path(stamps.source)
    for path in (folder / "config.toml", folder.parent / "config.toml"):
        if path.is_file():
            config = load_config(path)
            if not config.simulate.into:
                return config
            raise InputError(
                f"{folder} was painted into real images; only what is simulated whole can be drawn live"
            )
    raise InputError(
        f"{folder}: no config.toml there or above, with which the set was made; live training needs it"
    )


class LiveTrainer(keras.Model):
    """A network whose stamps are drawn in front of it: rows of `LiveSet.arrays` in, its own outputs out.

    Both share their weights; the network alone is what is saved.
    """

    def __init__(self, network: keras.Model, scenes: LiveSet, jitter: float, seed: int, batch: int):
        super().__init__(name="live_trainer")
        self.network = network
        self.stamps = LiveStamps(scenes, jitter, seed, batch, name="live_stamps")

    def call(self, arrays: Mapping[str, Any], training: bool = False) -> Any:
        """Draw the stamps and see what the network makes of them."""
        image = self.stamps(arrays, training=training)
        return self.network({"image": image, "noise_sigma": arrays["sky_sigma"]}, training=training)


class LiveBatches(keras.utils.PyDataset):
    """Batches of parameters, whole ones only.

    Parameters
    ----------
    scenes : LiveSet
    truth : ndarray (n, ...)
        What the loss compares with, of each scene.
    rows : ndarray of int
        The scenes to use, in their order.
    batch_size : int
    """

    def __init__(self, scenes: LiveSet, truth: np.ndarray, rows: np.ndarray, batch_size: int):
        super().__init__()
        self.scenes, self.truth = scenes, truth
        self.parts = list(split_rows(rows, batch_size, drop_partial=True))

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, index: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        rows = self.parts[index]
        return {name: values[rows] for name, values in self.scenes.arrays.items()}, self.truth[rows]
