"""Labelled stamps in the batches that a network sees."""

from __future__ import annotations

from collections.abc import Iterator

import keras
import numpy as np

from lenspipe.training.datasets import StampSet


class Batches(keras.utils.PyDataset):
    """Batches of stamps, in the order of their rows.

    Parameters
    ----------
    stamps : StampSet
    truth : ndarray (n, ...)
        What the loss compares with, for all stamps.
    rows : ndarray of int
        The stamps to use.
    batch_size : int
    drop_partial : bool
        A training epoch drops its last partial batch: batch-norm statistics of a few stamps are noise, and
        every epoch leaves out other stamps.
    weighted : bool
        Whether the stamps' weights come with them, if they have any; validation is of the data as they are.
    """

    def __init__(
        self,
        stamps: StampSet,
        truth: np.ndarray,
        rows: np.ndarray,
        batch_size: int,
        drop_partial: bool = False,
        weighted: bool = False,
    ):
        super().__init__()
        self.stamps, self.truth = stamps, truth
        self.weight = stamps.weight if weighted else None
        self.parts = list(split_rows(rows, batch_size, drop_partial))

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, index: int):
        rows = self.parts[index]
        inputs = self.stamps.inputs(rows)
        if self.weight is None:
            return inputs, self.truth[rows]
        return inputs, self.truth[rows], self.weight[rows]


def steps_per_epoch(rows: int, batch_size: int) -> int:
    """Return the number of training steps of an epoch."""
    return max(1, rows // batch_size)


def split_rows(rows: np.ndarray, batch_size: int, drop_partial: bool) -> Iterator[np.ndarray]:
    """Yield rows in batches; unless there is no whole one, the partial one may be dropped."""
    stop = len(rows) // batch_size * batch_size if drop_partial and len(rows) >= batch_size else len(rows)
    for start in range(0, stop, batch_size):
        yield rows[start : start + batch_size]
