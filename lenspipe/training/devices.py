"""One network on several accelerators at once: each gets its share of every batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import keras

from lenspipe.core.errors import ConfigError


def accelerators() -> list[str]:
    """Return the GPUs and TPUs that Keras sees; the (virtual) CPUs where there are none."""
    names = keras.distribution.list_devices()
    return [name for name in names if "cpu" not in name.lower()] or names


def on_accelerator() -> bool:
    """Tell whether networks run on something faster than a CPU."""
    return any("cpu" not in name.lower() for name in accelerators())


@contextmanager
def over_devices(count: int) -> Iterator[None]:
    """Make models that are built and trained inside the block use `count` devices, a share of each batch on each.

    Raises
    ------
    ConfigError
        If there are fewer, or Keras' backend cannot do it.
    """
    if count == 1:
        yield
        return
    there, backend = accelerators(), keras.config.backend()
    if len(there) < count:
        raise ConfigError(f"train.*.devices = {count}, but there are {len(there)}: {', '.join(there)}")
    if backend == "jax":
        before = keras.distribution.distribution()
        keras.distribution.set_distribution(keras.distribution.DataParallel(devices=there[:count]))
        try:
            yield
        finally:
            keras.distribution.set_distribution(before)
    elif backend == "tensorflow":
        import tensorflow as tf

        with tf.distribute.MirroredStrategy([name.upper() for name in there[:count]]).scope():
            yield
    else:
        raise ConfigError(f"train.*.devices = {count} needs the backend tensorflow or jax, not {backend}")
