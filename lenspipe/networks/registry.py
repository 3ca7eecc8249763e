"""Architectures by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import keras

from lenspipe.core.errors import ConfigError
from lenspipe.networks.alexnet import alexnet_tower
from lenspipe.networks.classifier import TrunkBuilder, build_classifier
from lenspipe.networks.deeplens import deeplens_trunk
from lenspipe.networks.efficientnet import efficientnet_trunk
from lenspipe.networks.inception import inception_tower, inception_trunk
from lenspipe.networks.inception_v4 import inception_v4_tower
from lenspipe.networks.lensdetectnet import lensdetectnet_trunk
from lenspipe.networks.network4 import network4_tower
from lenspipe.networks.overfeat import overfeat_tower
from lenspipe.networks.regressor import HIDDEN, Tower, build_regressor
from lenspipe.networks.resnet import resnet50_trunk
from lenspipe.networks.swift import swift_tower, swift_trunk

Task = Literal["detector", "regressor"]


class Architecture(NamedTuple):
    """A network by name: what it is for, and the function that builds it."""

    name: str
    task: Task
    build: Callable[..., keras.Model]


_DETECTORS: dict[str, TrunkBuilder] = {
    "resnet50": resnet50_trunk,
    "inception_detector": inception_trunk,
    "cmu_deeplens": deeplens_trunk,
    "lensdetectnet": lensdetectnet_trunk,
    "efficientnet": efficientnet_trunk,
    "swift": swift_trunk,
}
#: Towers, and the dense layers of each target's branch behind them.
_REGRESSORS: dict[str, tuple[Tower, tuple[int, ...]]] = {
    "inception": (inception_tower, HIDDEN),
    "alexnet": (alexnet_tower, ()),
    "overfeat": (overfeat_tower, ()),
    "network4": (network4_tower, ()),
    "inception_v4": (inception_v4_tower, ()),
    "swift_regressor": (swift_tower, (128, 64)),
}
ARCHITECTURES: dict[str, Architecture] = {
    **{
        name: Architecture(name, "detector", partial(build_classifier, trunk, name))
        for name, trunk in _DETECTORS.items()
    },
    **{
        name: Architecture(name, "regressor", partial(build_regressor, tower, name, hidden=hidden))
        for name, (tower, hidden) in _REGRESSORS.items()
    },
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


def build_network(task: str, name: str, size: int, bands: int, crop: int = 0, **settings: Any) -> keras.Model:
    """Build a network by name; `settings` go to its builder.

    Raises
    ------
    ConfigError
        If there is no such network, or it would see less than 32 px or more than the stamp.
    """
    if crop > size:
        raise ConfigError(f"crop = {crop} px is more than the stamps have: {size}")
    if (crop or size) < 32:
        raise ConfigError(f"networks expect to see at least 32 px, received {crop or size}")
    return find_architecture(task, name).build(size, bands, crop=crop, **settings)
