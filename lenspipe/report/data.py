"""What the page shows, as plain arrays, tables and mappings: the report knows no run directory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from astropy.table import Table


@dataclass(frozen=True)
class ReportData:
    """Everything the page shows, as plain arrays, tables and mappings. What is None is left out.

    Parameters
    ----------
    title, subtitle : str
        Name of the run and one line that says what it was.
    notices : sequence of str
        What a reader must know before believing anything, e.g. that a model was trained briefly.
    candidates : Table or None
        Ranked, best first, columns of `core.schema.catalog_columns`.
    stamps : ndarray (n, y, x, band), float32, or None
        nJy per pixel, row by row with `candidates`.
    noise_sigma : ndarray (n, band) or None
        nJy per pixel.
    bands, rgb : sequence of str
        Bands of `stamps`; those shown as red, green, blue.
    pixel_scale : float or None
        arcsec; with it stamps get a scale bar and their Einstein ring.
    prior : float or None
        Fraction of the survey's objects that are lenses, at which p_lens is calibrated.
    promise : str
        What may be expected of the candidates, in a sentence.
    stretch, softening : float
        Of the colour stamps: linear up to `stretch` sigma of the noise, Lupton's Q.
    detector : mapping or None
        ``metrics``, ``roc`` (``fpr``, ``tpr_mean``, ``tpr_std``, ``folds``: list of (fpr, tpr)),
        ``scores_lens``, ``scores_nonlens``; any may be missing.
    regressor : mapping or None
        target -> ``true``, ``median``, ``err_lo``, ``err_hi``, ``unit``, ``metrics``, and ``published``: what a study
        reports, may be missing.
    training : mapping or None
        ``image`` (n, y, x, band), ``noise_sigma`` (n, band), ``kinds`` (n,), ``rgb`` (three indices), and
        ``shortcut`` (AUROC of a classifier that sees no shapes, its error; or None).
    slip : mapping or None
        The fields of slip.json, ``posterior`` (gamma, density) and ``gamma_realizations``.
    history : sequence of mapping or None
        ``epoch``, ``loss``, ``val_loss``; with ``fold`` and ``task`` where there are several.
    funnel : sequence of mapping
        One a stage: ``stage``, ``units_done``, ``units_failed``, ``objects_in``, ``objects_out``,
        ``quarantined``, ``seconds``; any may be missing.
    quarantine : Table or None
        ``path``, ``hdu``, ``unit``, ``object``, ``reason``, ``detail``.
    facts : mapping of str to str
        Versions, seed, hashes, timings.
    repeat : sequence of str
        Commands that make this run again.
    """

    title: str
    subtitle: str = ""
    notices: Sequence[str] = ()
    candidates: Table | None = None
    stamps: np.ndarray | None = None
    noise_sigma: np.ndarray | None = None
    bands: Sequence[str] = ()
    rgb: Sequence[str] = ()
    pixel_scale: float | None = None
    prior: float | None = None
    promise: str = ""
    stretch: float = 12.0
    softening: float = 8.0
    detector: Mapping[str, Any] | None = None
    regressor: Mapping[str, Mapping[str, Any]] | None = None
    training: Mapping[str, Any] | None = None
    slip: Mapping[str, Any] | None = None
    history: Sequence[Mapping[str, Any]] | None = None
    funnel: Sequence[Mapping[str, Any]] = ()
    quarantine: Table | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    repeat: Sequence[str] = ()
