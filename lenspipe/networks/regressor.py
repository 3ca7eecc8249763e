"""What all regressors share: towers of convolutions, a branch of dense layers per target, and a stochastic head.

All that is deterministic is the trunk and runs once per stamp. What is left of a head is a dropout and one linear layer
per target, so that a thousand passes are a few matrix products.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import layers

from lenspipe.networks.assemble import assemble, input_channels, seeded_weights
from lenspipe.networks.blocks import dense_bn_relu
from lenspipe.networks.classifier import set_bn_momentum
from lenspipe.networks.dropout import ConcreteDropout, MCDropout
from lenspipe.networks.layers import TargetScale

#: Of stamps (n, y, x, c): maps or features, by convolutions.
Tower = Callable[[Any], Any]
#: Units of the dense layers of each target's branch (Bom et al. 2019).
HIDDEN = (512, 256, 128, 64)


def build_regressor(
    tower: Tower,
    name: str,
    size: int,
    bands: int,
    dropout: float = 0.1,
    bn_momentum: float = 0.9,
    seed: int = 0,
    channels: Sequence[str] = (),
    crop: int = 0,
    target_mean: Sequence[float] = (0.0, 0.0, 0.0, 0.0),
    target_std: Sequence[float] = (1.0, 1.0, 1.0, 1.0),
    hidden: Sequence[int] = HIDDEN,
    trunks: str = "shared",
    covariance: bool = False,
    learn_dropout: bool = False,
    samples: int = 1,
    zero_point_error: float = 0.0,
    shift: int = 0,
    names: Sequence[str] = (),
) -> keras.Model:
    """Return the regressor of a tower.

    Parameters
    ----------
    tower : callable
        Builds the convolutions.
    name, size, bands, dropout, bn_momentum, seed, channels, crop
        As for `lenspipe.networks.classifier.build_classifier`.
    target_mean, target_std : sequence of float
        Mean and standard deviation of each transformed target over the training folds; their number
        is the number of targets.
    hidden : sequence of int
        Units of the dense layers of each target's branch; empty = all targets hang on the tower's own features.
    trunks : str
        ``shared``: one tower, a branch per target. ``each``: a tower per target as well.
    covariance : bool
        Whether the errors of the targets may be correlated (full covariance) or not (diagonal).
    learn_dropout : bool
        Whether the dropout rate is learnt, of each target that has a branch, beginning with `dropout` (Gal, Hron &
        Kendall 2017).
    samples : int
        Stamps of the training folds; they decide how strongly a learnt rate is held.
    zero_point_error : float
        By what fraction (rms) each band's calibration is varied in training.
    shift : int
        By how many pixels stamps are moved in training, at most; not where positions are targets.
    names : sequence of str
        The targets, where some turn with the sky (`networks.jitter.TurnBack`); the stamps are then turned in training
        and the answers turned back.

    Returns
    -------
    keras.Model
        ``{"image", "noise_sigma"}`` to (n, targets, 2): mean and log variance of each transformed target (log theta_e,
        log sigma_v, log1p z); with `covariance` to (n, targets, 1 + targets), see `networks.losses.CovarianceNLL`.
    """
    targets = len(target_mean)
    branches = targets if hidden or trunks == "each" else 1
    with seeded_weights(seed):
        trunk = _build_trunk(tower, crop or size, input_channels(bands, channels), targets, hidden, trunks)
        head = _build_head(
            trunk.output_shape[-1],
            branches,
            _dropout(dropout, branches, seed, learn_dropout, samples, targets),
            TargetScale(target_mean, target_std, name="target_scale", dtype="float32"),
            (targets, 1 + targets if covariance else 2),
        )
    set_bn_momentum(trunk, bn_momentum)
    shift = 0 if {"x_lens", "y_lens"} & set(names) else shift
    return assemble(trunk, head, size, bands, seed, name, channels, zero_point_error, shift, names)


def _build_trunk(
    tower: Tower, size: int, channels: int, targets: int, hidden: Sequence[int], trunks: str
) -> keras.Model:
    """Return stamps to features: those of each target one after the other, or those that all share."""
    if trunks not in ("shared", "each"):
        raise ValueError(f"build_regressor expects trunks = shared or each, received {trunks!r}")
    inputs = keras.Input((size, size, channels), name="stamp", dtype="float32")
    maps = [tower(inputs)] if trunks == "shared" else [tower(inputs) for _ in range(targets)]
    ends = [layers.Flatten()(x) for x in maps]
    if hidden:
        ends = [_branch(ends[target % len(ends)], hidden) for target in range(targets)]
    joined = ends[0] if len(ends) == 1 else layers.Concatenate()(ends)
    return keras.Model(inputs, joined, name="trunk")


def _branch(x, hidden: Sequence[int]):
    for units in hidden:
        x = dense_bn_relu(x, units)
    return x


def _dropout(rate: float, groups: int, seed: int, learnt: bool, samples: int, targets: int) -> MCDropout:
    settings: dict[str, Any] = {"seed": seed + 1, "name": "mc_dropout", "dtype": "float32"}
    return (
        ConcreteDropout(rate, groups=groups, samples=samples, targets=targets, **settings)
        if learnt
        else MCDropout(rate, **settings)
    )


def _build_head(
    features: int, branches: int, dropout: MCDropout, scale: TargetScale, outputs: tuple[int, int]
) -> keras.Model:
    """Return the head: dropout, a linear layer for each target of its own features or of all, and the scale."""
    inputs = keras.Input((features,), name="features", dtype="float32")
    x = dropout(inputs)
    if branches > 1:
        x = layers.Reshape((branches, features // branches), dtype="float32")(x)
    sums = "nkw,kwo->nko" if branches > 1 else "nw,wko->nko"
    x = layers.EinsumDense(sums, outputs, bias_axes="ko", dtype="float32")(x)
    return keras.Model(inputs, scale(x), name="head")
