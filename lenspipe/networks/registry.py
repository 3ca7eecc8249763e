"""Architectures by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import keras

from lenspipe.core.errors import ConfigError
from lenspipe.networks.deeplens import build_deeplens
from lenspipe.networks.efficientnet import build_efficientnet
from lenspipe.networks.inception import build_inception, build_inception_detector
from lenspipe.networks.lensdetectnet import build_lensdetectnet
from lenspipe.networks.resnet import build_resnet50
from lenspipe.networks.swift import build_swift

Task = Literal["detector", "regressor"]


class Architecture(NamedTuple):
    """A network by name: what it is for, and the function that builds it."""

    name: str
    task: Task
    build: Callable[..., keras.Model]


ARCHITECTURES: dict[str, Architecture] = {
    entry.name: entry
    for entry in (
        Architecture("resnet50", "detector", build_resnet50),
        Architecture("inception_detector", "detector", build_inception_detector),
        Architecture("cmu_deeplens", "detector", build_deeplens),
        Architecture("lensdetectnet", "detector", build_lensdetectnet),
        Architecture("efficientnet", "detector", build_efficientnet),
        Architecture("swift", "detector", build_swift),
        Architecture("inception", "regressor", build_inception),
    )
}
DEFAULTS: dict[str, str] = {"detector": "resnet50", "regressor": "inception"}


def find_architecture(task: str, name: str = "") -> Architecture:
    """Return the architecture of that name, or the task's default if `name` is empty.

    Raises
    ------
    ConfigError
        If there is no such architecture for the task; the message lists those there are.
    """
    known = [entry.name for entry in ARCHITECTURES.values() if entry.task == task]
    if not known:
        raise ConfigError(f"unknown task {task!r}; expected one of {', '.join(DEFAULTS)}")
    name = name or DEFAULTS[task]
    if name not in known:
        raise ConfigError(f"unknown {task} architecture {name!r}; known ones are {', '.join(known)}")
    return ARCHITECTURES[name]


def build_network(task: str, name: str, size: int, bands: int, **settings: Any) -> keras.Model:
    """Build a network by name; `settings` go to its builder."""
    if size < 32:
        raise ConfigError(f"networks expect stamps of at least 32 px, received {size}")
    return find_architecture(task, name).build(size, bands, **settings)
