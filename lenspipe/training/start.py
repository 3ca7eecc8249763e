"""Training that begins with the weights of another model: of another survey, or of easier data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import keras

from lenspipe.core.errors import ModelMismatch
from lenspipe.io.cards import read_card, sets_of, weights_of
from lenspipe.training.load import load_model

_PARTS = ("trunk", "head")


def start_from(model: keras.Model, bundle: str | Path, task: str, fold: int, sets: Sequence[str]) -> None:
    """Give a network that is to be trained the weights of a bundle's network, one of several in turn.

    Stamps may differ in size, pixel scale and noise, which the trunk need not know; not in the number of channels.
    `sets` are the hashes of what it is to be trained on.

    Raises
    ------
    InputError
        If the bundle cannot be read.
    ModelMismatch
        If it is a model for another task, its weights do not fit, or it was trained on one of these sets: it would
        know the stamps that are held out.
    """
    card, files = read_card(bundle, task), weights_of(bundle)
    if set(sets_of(card)) & set(sets):
        raise ModelMismatch(
            f"training cannot begin with {bundle}: it was trained on one of these sets and knows the stamps that are "
            "to be held out, so that scores and calibration would be too good; give it new ones (another seed)"
        )
    other = load_model(files[fold % len(files)])
    for part in _PARTS:
        mine, theirs = model.get_layer(part), other.get_layer(part)
        shapes = [[tuple(weight.shape) for weight in layer.weights] for layer in (mine, theirs)]
        if shapes[0] != shapes[1]:
            raise ModelMismatch(
                f"training cannot begin with {bundle}: the weights of its {part} do not fit; it is of the "
                f"architecture {card['architecture']} for the bands {', '.join(card['bands'])}; give "
                "the same architecture, channels and number of bands, or leave out train.*.start"
            )
        mine.set_weights(theirs.get_weights())
