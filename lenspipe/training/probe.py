"""How well simulated stamps can be told from real ones: the lower the AUC, the better the simulator.

A network that is trained on simulations learns whatever sets them apart from the sky as well, so that a
completeness measured on simulations is worth what these figures say it is. Two probes, both
cross-validated again and again: a logistic regression on features that an astronomer can read, which says what
to mend, and a small network, which sees the rest. 0.5 = cannot be told apart, 1 = told apart without error.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import keras
import numpy as np
from scipy.ndimage import gaussian_filter
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lenspipe.core.errors import InputError
from lenspipe.core.rng import derive_seed, stream
from lenspipe.networks.jitter import SkySymmetry

FOLDS = 5
#: Stamps of each kind: with 12 the AUC is known to +-0.1 (one sigma), which still tells 0.5 from 0.8; a network
#: learns nothing from fewer than 100.
LEAST, LEAST_NETWORK = 12, 100
_REPEATS = (
    5  # cross-validations with other folds and other networks: one network's AUC scatters by 0.03 to 0.1
)
_RADII = (0.0, 1.0, 2.0, 3.0, 4.5, 6.5, 9.0, 13.0, 18.0, 25.0)  # edges of the profile's rings [px]
_COMPONENTS, _CROP = 16, 25  # principal components of the central pixels, and the side of these [px]
_BOOTSTRAPS = 200
_EPOCHS, _BATCH = 12, 32


def probe_realism(
    real: np.ndarray,
    real_noise: np.ndarray,
    simulated: np.ndarray,
    simulated_noise: np.ndarray,
    bands: Sequence[str],
    seed: int,
    images: np.ndarray | None = None,
    repeats: int = 5,
) -> dict[str, Any]:
    """Return how well real and simulated stamps can be told apart.

    Parameters
    ----------
    real, simulated : ndarray (n, y, x, b), (m, y, x, b)
        nJy per pixel, same scale and bands, objects selected and cut the same way.
    real_noise, simulated_noise : ndarray (n, b), (m, b)
        Noise of an empty pixel [nJy].
    bands : sequence of str
    seed : int
    images : ndarray (n + m,), optional
        Number of the image that each stamp was cut from, the real ones first. Those of one image, which may show
        the same pixels, are then never divided between training and test.
    repeats : int
        Cross-validations, with other folds and other networks: one network's AUC scatters by up to 0.1.

    Returns
    -------
    dict
        ``linear`` and ``network``: AUC out of fold, the mean over cross-validations with other folds (and
        networks), each with ``_err`` (bootstrap of the stamps) and ``_scatter`` (between the
        cross-validations); the network's are NaN below 100 stamps of a kind. ``permuted`` and
        ``permuted_err``: the linear probe's mean and scatter on shuffled labels, which must be 0.5;
        ``n_real``, ``n_simulated``; ``features``: list of (name, coefficient, AUC alone), those first that
        weigh most, positive = larger in simulations.

    Raises
    ------
    InputError
        If there are fewer than 12 stamps of a kind.
    """
    fewest = min(len(real), len(simulated))
    if fewest < LEAST:
        raise InputError(
            f"the realism probe needs {LEAST} real and {LEAST} simulated stamps at least, "
            f"received {len(real)} and {len(simulated)}; give it more images or a fainter ingest.max_mag"
        )
    label = np.repeat([0, 1], [len(real), len(simulated)])
    pixels = np.concatenate([normalise(real, real_noise), normalise(simulated, simulated_noise)])
    features, names = stamp_features(pixels, bands)
    columns = np.concatenate([features, _crop(pixels).reshape(len(pixels), -1)], axis=1)
    probe = _linear_probe(len(names), seed)
    trials = [_split(label, images, seed, repeat) for repeat in range(repeats)]
    score = np.stack([_linear_scores(probe, columns, label, folds) for folds in trials])
    rng = stream(seed, "probe/permuted")
    chance = []
    for folds in trials:  # folds made for the true labels: shuffled ones are no better balanced for it
        y = rng.permutation(label)
        chance.append(roc_auc_score(y, _linear_scores(probe, columns, y, folds)))
    weight = probe.fit(columns, label)[-1].coef_[0][: len(names)]
    alone = [roc_auc_score(label, features[:, k]) for k in range(len(names))]
    order = np.argsort(-np.abs(weight))
    network = np.empty((0, len(label)))
    if fewest >= LEAST_NETWORK:
        network = _network_scores(pixels, label, trials, seed)
    return {
        **_summary("linear", label, score, seed), **_summary("network", label, network, seed),
        "permuted": float(np.mean(chance)), "permuted_err": float(np.std(chance)),
        "n_real": len(real), "n_simulated": len(simulated),
        "features": [(names[k], float(weight[k]), float(alone[k])) for k in order],
    }  # fmt: skip


def match_magnitudes(
    real: np.ndarray, simulated: np.ndarray, seed: int, ratio: int = 1, width: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of two samples whose magnitudes are distributed alike, as many as there can be.

    Parameters
    ----------
    real, simulated : ndarray (n,), (m,)
        Magnitudes; rows with NaN are left out.
    seed : int
    ratio : int
        Simulated ones for each real one.
    width : float
        Of the bins in which numbers are made equal [mag].
    """
    bins = [np.floor(np.where(np.isfinite(mag), mag, np.inf) / width) for mag in (real, simulated)]
    rng = stream(seed, "probe/match")
    rows: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for number in np.intersect1d(bins[0][np.isfinite(bins[0])], bins[1]):
        members = [np.flatnonzero(which == number) for which in bins]
        count = min(len(members[0]), len(members[1]) // ratio)
        for kept, part, times in zip(rows, members, (1, ratio), strict=True):
            kept.append(rng.permutation(part)[: count * times])
    first, second = (np.sort(np.concatenate([np.empty(0, int), *kept])) for kept in rows)
    return first, second


def normalise(image: np.ndarray, noise_sigma: np.ndarray) -> np.ndarray:
    """Return asinh(image / noise), what networks see: (n, y, x, b) float32."""
    return np.arcsinh(image / np.asarray(noise_sigma)[:, None, None, :]).astype(np.float32)


def stamp_features(pixels: np.ndarray, bands: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Return readable features (n, k) of normalised stamps (n, y, x, b), and their names.

    Of each band: ring profile, size, ellipticity, asymmetry and clumpiness of what is in the middle;
    scatter, correlation at one and two pixels and skewness of the empty pixels. Between bands: colours,
    and the correlation of the empty pixels.
    """
    _, height, width, n_bands = pixels.shape
    y, x = np.mgrid[:height, :width]
    dx, dy = x - 0.5 * (width - 1), y - 0.5 * (height - 1)
    r = np.hypot(dx, dy)
    flux = np.sinh(pixels.astype(np.float64))
    columns: dict[str, np.ndarray] = {}
    empty = np.abs(pixels) < np.arcsinh(3.0)
    for b, band in enumerate(bands):
        for low, high in pairwise(_RADII):
            ring = (r >= low) & (r < high)
            if ring.any() and high <= 0.5 * min(height, width):
                columns[f"profile_{band}_{low:g}-{high:g}px"] = pixels[:, ring, b].mean(axis=1)
        window = flux[..., b] * np.exp(-0.5 * (r / 4.0) ** 2)
        total = np.maximum(window.sum(axis=(1, 2)), 1.0)
        xx, yy, xy = ((window * part).sum(axis=(1, 2)) / total for part in (dx * dx, dy * dy, dx * dy))
        columns[f"size_{band}"] = np.clip(xx + yy, 0.0, 40.0)
        columns[f"ellipticity_{band}"] = np.clip(np.hypot(xx - yy, 2 * xy), 0.0, 20.0) / np.clip(
            xx + yy, 1.0, None
        )
        inner = r < 9.0
        middle = pixels[..., b]
        columns[f"asymmetry_{band}"] = np.abs(middle - middle[:, ::-1, ::-1])[:, inner].mean(axis=1)
        smooth = gaussian_filter(middle, (0.0, 1.5, 1.5))
        columns[f"clumpiness_{band}"] = np.abs(middle - smooth)[:, inner].mean(axis=1)
        columns |= {f"{name}_{band}": v for name, v in _noise_features(flux[..., b], empty[..., b]).items()}
    aperture = np.maximum(flux[:, r < 5.0].sum(axis=1), 3.0)
    for b in range(n_bands - 1):
        pair = f"{bands[b]}-{bands[b + 1]}"
        columns[f"colour_{pair}"] = np.log10(aperture[:, b] / aperture[:, b + 1])
        columns[f"corr_{pair}"] = _correlation(
            flux[..., b], flux[..., b + 1], empty[..., b] & empty[..., b + 1]
        )
    return np.stack(list(columns.values()), axis=1), list(columns)


def _noise_features(flux: np.ndarray, empty: np.ndarray) -> dict[str, np.ndarray]:
    count = np.maximum(empty.sum(axis=(1, 2)), 1)
    mean = np.where(empty, flux, 0.0).sum(axis=(1, 2)) / count
    values = np.where(empty, flux - mean[:, None, None], 0.0)
    sigma = np.sqrt((values**2).sum(axis=(1, 2)) / count)
    out = {"scatter": sigma, "skewness": (values**3).sum(axis=(1, 2)) / count / np.maximum(sigma, 0.1) ** 3}
    for lag in (1, 2):
        along_x = _correlation(flux[:, :, lag:], flux[:, :, :-lag], empty[:, :, lag:] & empty[:, :, :-lag])
        along_y = _correlation(flux[:, lag:], flux[:, :-lag], empty[:, lag:] & empty[:, :-lag])
        out[f"corr{lag}"] = 0.5 * (along_x + along_y)
    return out


def _correlation(a: np.ndarray, b: np.ndarray, use: np.ndarray) -> np.ndarray:
    """Return the correlation of two images (n, y, x) over the pixels to be used."""
    count = np.maximum(use.sum(axis=(1, 2)), 1)
    a, b = (np.where(use, part, 0.0) for part in (a, b))
    a, b = (np.where(use, part - (part.sum(axis=(1, 2)) / count)[:, None, None], 0.0) for part in (a, b))
    norm = np.sqrt((a * a).sum(axis=(1, 2)) * (b * b).sum(axis=(1, 2)))
    return (a * b).sum(axis=(1, 2)) / np.maximum(norm, 1e-12)


def _crop(pixels: np.ndarray) -> np.ndarray:
    side = min(_CROP, *pixels.shape[1:3])
    top, left = (pixels.shape[1] - side) // 2, (pixels.shape[2] - side) // 2
    return pixels[:, top : top + side, left : left + side]


def _linear_probe(n_features: int, seed: int):
    components = PCA(_COMPONENTS, random_state=derive_seed(seed, "probe/pca"))
    columns = ColumnTransformer(
        [("features", "passthrough", slice(0, n_features)), ("pixels", components, slice(n_features, None))]
    )
    return make_pipeline(
        columns, StandardScaler(), LogisticRegression(C=0.1, max_iter=2000, class_weight="balanced")
    )


def _split(
    label: np.ndarray, images: np.ndarray | None, seed: int, repeat: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (train, test) rows of each fold, as many folds as there are images of a kind, at most `FOLDS`."""
    state = derive_seed(seed, f"probe/folds/{repeat}")
    rows = np.zeros((len(label), 1))
    if images is None:
        return list(StratifiedKFold(FOLDS, shuffle=True, random_state=state).split(rows, label))
    count = min(FOLDS, *(len(np.unique(images[label == kind])) for kind in (0, 1)))
    folds = StratifiedGroupKFold(count, shuffle=True, random_state=state)
    return list(folds.split(rows, label, images))


def _linear_scores(probe: Any, columns: np.ndarray, label: np.ndarray, folds: Any) -> np.ndarray:
    return cross_val_predict(probe, columns, label, cv=folds, method="decision_function")


def _summary(name: str, label: np.ndarray, scores: np.ndarray, seed: int) -> dict[str, float]:
    """Return mean, error (bootstrap of the stamps) and scatter of the AUC of repeated scores (r, n)."""
    if not len(scores):
        return {name: np.nan, f"{name}_err": np.nan, f"{name}_scatter": np.nan}
    rng = stream(seed, "probe/bootstrap")
    kinds = [np.flatnonzero(label == kind) for kind in (0, 1)]
    values = []
    for _ in range(_BOOTSTRAPS):
        rows = np.concatenate([rng.choice(part, len(part)) for part in kinds])
        values.append(np.mean([roc_auc_score(label[rows], score[rows]) for score in scores]))
    each = [roc_auc_score(label, score) for score in scores]
    return {
        name: float(np.mean(each)),
        f"{name}_err": float(np.std(values)),
        f"{name}_scatter": float(np.std(each, ddof=1)),
    }


def _network_scores(pixels: np.ndarray, label: np.ndarray, trials: Sequence[Any], seed: int) -> np.ndarray:
    """Return the out-of-fold scores (r, n) of small convolutional networks, begun anew for each trial."""
    scores = np.zeros((len(trials), len(label)))
    network = _build_network(pixels.shape[1:], derive_seed(seed, "probe/flips"))
    optimizer = keras.optimizers.Adam(2e-3)
    optimizer.build(network.trainable_variables)
    network.compile(optimizer, "binary_crossentropy")
    share = np.bincount(label) / len(label)
    weight = 0.5 / share[label]
    begun = [keras.ops.convert_to_numpy(variable) for variable in optimizer.variables]
    for repeat, folds in enumerate(trials):
        keras.utils.set_random_seed(derive_seed(seed, f"probe/network/{repeat}"))
        fresh = _build_network(pixels.shape[1:], 0).get_weights()
        for train, test in folds:
            network.set_weights(fresh)  # compiled once, begun anew
            for variable, value in zip(optimizer.variables, begun, strict=True):
                variable.assign(value)
            network.fit(
                pixels[train], label[train], sample_weight=weight[train],
                batch_size=_BATCH, epochs=_EPOCHS, verbose=0,
            )  # fmt: skip
            scores[repeat, test] = network.predict(pixels[test], batch_size=256, verbose=0)[:, 0]
    return scores


def _build_network(shape: tuple[int, ...], seed: int) -> keras.Model:
    """Return four convolutions and a mean over the stamp: about 26,000 parameters for three bands."""
    layers = keras.layers
    network = [keras.Input(shape), SkySymmetry(seed=seed)]
    for filters in (16, 32, 32, 32):
        network += [layers.Conv2D(filters, 3, padding="same", activation="relu"), layers.MaxPooling2D(2)]
    return keras.Sequential([*network[:-1], layers.GlobalAveragePooling2D(), layers.Dense(1, "sigmoid")])
