"""Whether lenses can be told by a shortcut: brightness, colour and concentration, without seeing arcs.

A set in which they can teaches a network the shortcut, not what a lens looks like.
"""

from __future__ import annotations

import numpy as np
from photutils.aperture import CircularAperture
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lenspipe.core.errors import InputError
from lenspipe.core.rng import derive_seed, stream

#: Radii [arcsec] of the colours' aperture, of the magnitudes', and of the concentration's two.
COLOUR_RADIUS, TOTAL_RADIUS, CONCENTRATION_RADII = 2.0, 5.0, (1.0, 3.0)
FOLDS, _BOOTSTRAPS = 5, 200


def shortcut_auroc(
    image: np.ndarray, noise_sigma: np.ndarray, is_lens: np.ndarray, pixel_scale: float, seed: int
) -> tuple[float, float]:
    """Return the AUROC of a logistic regression that sees no shapes, and its bootstrap error.

    0.5 = the shortcut is blind, 1 = no need to look for arcs. Cross-validated in five folds.

    Parameters
    ----------
    image : ndarray (n, y, x, b)
        nJy per pixel.
    noise_sigma : ndarray (n, b)
        Noise of an empty pixel [nJy].
    is_lens : ndarray (n,), bool
    pixel_scale : float
        [arcsec]
    seed : int

    Raises
    ------
    InputError
        If there are fewer than five stamps of either class.
    """
    label = np.asarray(is_lens, dtype=int)
    if min(label.sum(), (1 - label).sum()) < FOLDS:
        raise InputError(
            f"the shortcut test needs {FOLDS} lenses and {FOLDS} others at least, received {label.sum()} and "
            f"{(1 - label).sum()}; give it a mixed set"
        )
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=derive_seed(seed, "shortcut/folds"))
    features = shortcut_features(image, noise_sigma, pixel_scale)
    score = cross_val_predict(probe, features, label, cv=folds, method="predict_proba")[:, 1]
    rng = stream(seed, "shortcut/bootstrap")
    again = []
    for _ in range(_BOOTSTRAPS):
        rows = rng.integers(len(label), size=len(label))
        if 0 < label[rows].sum() < len(label):
            again.append(roc_auc_score(label[rows], score[rows]))
    return float(roc_auc_score(label, score)), float(np.std(again))


def shortcut_features(image: np.ndarray, noise_sigma: np.ndarray, pixel_scale: float) -> np.ndarray:
    """Return colours within 2", total magnitudes and concentration of each band: (n, 3 b - 1).

    Magnitudes are asinh magnitudes (Lupton et al. 1999) less their zero point: finite for any flux.
    """
    bright = _asinh_magnitudes(image, noise_sigma, COLOUR_RADIUS / pixel_scale)
    total = _asinh_magnitudes(image, noise_sigma, TOTAL_RADIUS / pixel_scale)
    inner, outer = (_asinh_magnitudes(image, noise_sigma, r / pixel_scale) for r in CONCENTRATION_RADII)
    return np.concatenate([bright[:, :-1] - bright[:, 1:], total, inner - outer], axis=1)


def _asinh_magnitudes(image: np.ndarray, noise_sigma: np.ndarray, radius: float) -> np.ndarray:
    size = image.shape[1]
    middle = (size - 1) / 2
    weight = CircularAperture((middle, middle), radius).to_mask(method="exact").to_image((size, size))
    flux = np.einsum("nyxb,yx->nb", image, weight, dtype=np.float64)
    softening = np.asarray(noise_sigma, float) * np.sqrt(np.square(weight).sum())
    return -2.5 / np.log(10.0) * (np.arcsinh(0.5 * flux / softening) + np.log(softening))
