"""The report: one HTML page that needs nothing but itself.

All text may come from FITS headers and is hostile until escaped: Jinja2 escapes everything, and the
page's own policy lets a browser run only the script and style whose hashes it names, and fetch nothing.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from lenspipe.io.files import write_text
from lenspipe.report import views

TEMPLATES = Path(__file__).parent / "templates"


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
    stretch, softening : float
        Of the colour stamps: linear up to `stretch` sigma of the noise, Lupton's Q.
    detector : mapping or None
        ``metrics``, ``roc`` (``fpr``, ``tpr_mean``, ``tpr_std``, ``folds``: list of (fpr, tpr)),
        ``scores_lens``, ``scores_nonlens``; any may be missing.
    regressor : mapping or None
        target -> ``true``, ``median``, ``err_lo``, ``err_hi``, ``unit``, and ``metrics``.
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
    stretch: float = 12.0
    softening: float = 8.0
    detector: Mapping[str, Any] | None = None
    regressor: Mapping[str, Mapping[str, Any]] | None = None
    slip: Mapping[str, Any] | None = None
    history: Sequence[Mapping[str, Any]] | None = None
    funnel: Sequence[Mapping[str, Any]] = ()
    quarantine: Table | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    repeat: Sequence[str] = ()


def write_report(path: str | Path, data: ReportData) -> Path:
    """Write the page atomically and return its path."""
    path = Path(path)
    write_text(path, render_report(data))
    return path


def render_report(data: ReportData) -> str:
    """Return the page as text."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_writable,
    )
    environment.filters.update(number=views.number, count=views.count)
    style, script = ((TEMPLATES / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    return environment.get_template("report.html.j2").render(
        data=data,
        style=Markup(style),
        script=Markup(script),
        policy=_policy(style, script),
        headline=views.headline(data),
        cards=views.cards(data),
        flags=views.flags_seen(data.candidates),
        detector=views.detector_view(data.detector),
        regressor=views.regressor_view(data.regressor),
        histories=views.history_pictures(data.history),
        slip=views.slip_view(data.slip),
        quarantine=views.quarantine_view(data.quarantine),
    )


def _policy(style: str, script: str) -> str:
    """Return the content security policy: no request leaves the page, only our own code runs."""

    def digest(text: str) -> str:
        return base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")

    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest(style)}'; "
        f"script-src 'sha256-{digest(script)}'; base-uri 'none'; form-action 'none'"
    )


def _writable(value: Any) -> Any:
    """Drop from text what UTF-8 or HTML cannot hold: control characters and lone surrogates."""
    if not isinstance(value, str):
        return value
    return type(value)(re.sub("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]", "\ufffd", value))
