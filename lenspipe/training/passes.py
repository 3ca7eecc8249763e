"""Monte-Carlo dropout: the outputs of an ensemble of networks, each with many dropout masks.

Each (network, pass) is one draw from the approximate posterior of the weights: its dropout mask is
shared by all stamps and keyed by (seed, network, layer, pass). So the result of a stamp depends neither
on its neighbours nor on its place, and tiling a survey anew gives the same scores. Batches are filled up to
`batch_size` so that every call has the same shape: for one batch size the results are the same bits. Between
batch sizes they are so on the processors tested; other libraries may round differently in the last digit
of a float32. Memory does not grow with the number of stamps beyond the results themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from lenspipe.training.load import Network

#: Batches are filled up at least to this: a matrix product of one row sums in another order.
SMALLEST_BATCH = 8
#: Stamps times passes that go through a head at once, where masks are no part of its weights: enough that it is
#: products that take the time, not calls.
AT_ONCE = 16_384


def run_passes(
    networks: Sequence[Network],
    inputs: Mapping[str, np.ndarray],
    mc_samples: int,
    seed: int,
    batch_size: int,
    views: int = 1,
) -> Iterator[tuple[slice, np.ndarray, list[np.ndarray]]]:
    """Yield, batch by batch, (rows, outputs, features); outputs are (n, networks, passes, ...).

    The last axes are the head's: (2,) of a detector, (targets, 2) of a regressor. Features are (n, f) of each network.
    """
    filled, count = max(batch_size, SMALLEST_BATCH), len(inputs["image"])
    together = min(mc_samples, max(1, AT_ONCE // filled))
    dropped = [_in_rows(network.draw_masks(mc_samples, seed), together) for network in networks]
    for start in range(0, count, batch_size):
        rows = slice(start, min(start + batch_size, count))
        outputs, seen, length = [], [], min(batch_size, count - start)
        for network, masks in zip(networks, dropped, strict=True):
            stamps = {
                name: _filled(inputs[name][rows], filled, dtype) for name, dtype in network.inputs.items()
            }
            features = np.mean(
                [network.trunk.predict_on_batch(_turned(stamps, view)) for view in range(views)],
                axis=0,
                dtype=np.float32,
            )
            out = network.passes.predict_on_batch({"features": features, "masks": masks})
            each = np.asarray(out).reshape(-1, filled, *out.shape[3:])[:mc_samples]
            outputs.append(np.moveaxis(each, 0, 1)[:length])
            seen.append(features[:length])
        yield rows, np.stack(outputs, axis=1), seen


def _in_rows(masks: dict[str, np.ndarray], together: int) -> dict[str, np.ndarray]:
    """Return masks (t, 1, width) in rows of so many (c, together, 1, width), the last filled up."""
    return {
        name: np.resize(mask, (-(-len(mask) // together), together, *mask.shape[1:]))
        for name, mask in masks.items()
    }


def _turned(stamps: dict[str, np.ndarray], view: int) -> dict[str, np.ndarray]:
    """Return the stamps in one of the eight orientations: bit 0 flips x, bit 1 flips y, bit 2 transposes."""
    flips = tuple(axis for axis, bit in ((2, 1), (1, 2)) if view & bit)

    def turn(values: np.ndarray) -> np.ndarray:
        return np.flip(values.transpose(0, 2, 1, 3) if view & 4 else values, flips)

    return {name: turn(values) if values.ndim == 4 else values for name, values in stamps.items()}


def _filled(values: np.ndarray, length: int, dtype: str) -> np.ndarray:
    values = np.asarray(values, dtype)
    missing = length - len(values)
    return np.concatenate([values, np.repeat(values[-1:], missing, axis=0)]) if missing else values
