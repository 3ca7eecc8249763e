"""What the page shows: numbers as words, stamps as pictures, ready for the template."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from astropy.table import Row, Table
from markupsafe import Markup

from lenspipe.core.schema import FLAGS, flag_names
from lenspipe.report.data import ReportData
from lenspipe.report.figures import (
    Picture,
    data_uri,
    draw_history,
    draw_roc,
    draw_scores,
    picture,
)
from lenspipe.report.gallery import draw_gallery, encode_gallery
from lenspipe.report.performance import draw_completeness, draw_kinds, draw_reliability
from lenspipe.report.stamps import bar_length, choose_rgb, colour_stamp

#: Rows of the quarantine table that the page shows; the file beside it has all.
MAX_QUARANTINE = 300

# symbol, words, decimals, mark on the number, unit after its errors
TARGETS = {
    "theta_e": (Markup("<i>θ</i><sub>E</sub>"), "Einstein radius", 2, "″", ""),
    "sigma_v": (Markup("<i>σ<sub>v</sub></i>"), "velocity dispersion", 0, "", "km/s"),
    "z_lens": (Markup("<i>z</i><sub>lens</sub>"), "redshift of the lens", 2, "", ""),
    "z_src": (Markup("<i>z</i><sub>src</sub>"), "redshift of the source", 2, "", ""),
    "q": (Markup("<i>q</i>"), "axis ratio of the mass", 2, "", ""),
    "phi": (Markup("<i>φ</i>"), "position angle of the mass", 0, "°", ""),
}
_FIT = {
    "fit_theta_e": (
        Markup("<i>θ</i><sub>E</sub> fit"),
        "Einstein radius fitted to the pixels",
        3,
        "″",
        "",
    ),
    "fit_q": (Markup("<i>q</i> fit"), "axis ratio of the mass, fitted to the pixels", 2, "", ""),
    "fit_gamma_ext": (
        Markup("<i>γ</i><sub>ext</sub> fit"),
        "external shear, fitted to the pixels",
        2,
        "",
        "",
    ),
}
_METRICS = {
    "auroc": "AUROC",
    "tpr_at_fpr_1e-3": "TPR at FPR 10⁻³",
    "tpr_at_fpr_1e-4": "TPR at FPR 10⁻⁴",
    "tpr0": "TPR₀",
    "tpr10": "TPR₁₀",
    "f_beta": "Fᵦ",
    "purity_top_100": "purity of the best 100",
    "accuracy": "accuracy at score 0.5",
    "ece": "calibration error",
    "n_lens": "lenses tested",
    "n_nonlens": "non-lenses tested",
}


# -- words and numbers -------------------------------------------------------------------------------


def number(value: Any, decimals: int = 3) -> str:
    """Return a number for a person: fixed decimals, a true minus sign, a dash for what is not known."""
    value = math.nan if value is None or value is np.ma.masked else float(value)
    if not math.isfinite(value):
        return "–"
    return f"{round(value, decimals) + 0.0:,.{decimals}f}".replace("-", "−")  # + 0.0: no "−0.00"


def probability(value: Any) -> str:
    """Return a probability with two significant digits where it is small: lenses are rare."""
    value = math.nan if value is None or value is np.ma.masked else float(value)
    return f"{value:.1e}" if 0 < value < 0.001 else f"{value:.2g}" if 0 < value < 0.1 else number(value, 2)


def count(value: Any) -> str:
    """Return a whole number with its thousands apart."""
    return "–" if value is None else f"{int(value):,}"


def plain_number(value: Any) -> str:
    """Return a number for the page's script; empty if not finite."""
    return f"{float(value):.6g}" if math.isfinite(float(value)) else ""


# -- what the page shows -----------------------------------------------------------------------------


def headline(data: ReportData) -> list[tuple[str, str, str]]:
    """Return (number, words, anchor) of the run's story: from images to candidates."""
    stages = {str(row.get("stage")): row for row in data.funnel}
    ingest, find = stages.get("ingest", {}), stages.get("find", {})
    story: list[tuple[Any, str, str]] = []
    if "units_done" in ingest:
        story.append((ingest["units_done"], "images searched", "funnel"))
    objects = find.get("objects_out", ingest.get("objects_out"))
    if objects is not None:
        story.append((objects, "objects scored", "funnel"))
    if data.candidates is not None:
        story.append((len(data.candidates), "candidates", "candidates"))
        if "known_name" in data.candidates.colnames:
            story.append(
                (sum(bool(str(name)) for name in data.candidates["known_name"]), "known before", "candidates")
            )
    if data.quarantine is not None:
        story.append((len(data.quarantine), "quarantined", "quarantine"))
    return [(count(value), words, anchor) for value, words, anchor in story]


def cards(data: ReportData) -> list[dict[str, Any]]:
    """Return what the card of each candidate shows, in the candidates' order."""
    if data.candidates is None:
        return []
    names = set(data.candidates.colnames)
    return [_card(data, names, i, row) for i, row in enumerate(data.candidates)]


def _card(data: ReportData, names: set[str], i: int, row: Row) -> dict[str, Any]:
    def get(name: str, missing: Any = math.nan) -> Any:
        return row[name] if name in names and row[name] is not np.ma.masked else missing

    measures = [
        {
            "symbol": symbol,
            "words": words,
            "mark": mark,
            "unit": unit,
            "value": number(row[target], decimals),
            "hi": number(get(f"{target}_err_hi", get(f"{target}_err")), decimals),
            "lo": number(get(f"{target}_err_lo", get(f"{target}_err")), decimals),
        }
        for target, (symbol, words, decimals, mark, unit) in (TARGETS | _FIT).items()
        if target in names
    ]
    bands = [name.removeprefix("mag_") for name in data.candidates.colnames if name.startswith("mag_")]
    return {
        "rank": i + 1,
        "name": str(get("name", "")) or str(get("object_id", "")) or f"candidate {i + 1}",
        "object_id": str(get("object_id", "")),
        "tile": str(get("tile", "")),
        "stamp": _stamp(data, i),
        "ring": _ring(data, get("theta_e")),
        "bar": _scale_bar(data),
        "score": number(get("score")),
        "score_err": number(get("score_err")),
        "p_lens": probability(get("p_lens")),
        "score_key": plain_number(get("score")),
        "theta_key": plain_number(get("theta_e")),
        "measures": measures,
        "qualities": [
            (words, number(get(name), 2))
            for name, words in (("novelty", "novelty"), ("fit_chi2", "χ² per degree of the fit"))
            if math.isfinite(get(name))
        ],
        "mags": [(band, number(get(f"mag_{band}"), 2)) for band in bands],
        "ra": f"{get('ra'):.5f}" if math.isfinite(get("ra")) else "",
        "dec": f"{get('dec'):+.5f}" if math.isfinite(get("dec")) else "",
        "known": str(get("known_name", "")),
        "known_sep": number(get("known_sep"), 1),
        "grade": str(get("grade", "")),
        "graders": f"{number(get('grade_mean'), 1)} of 3, {count(get('n_grades', 0))} graded it",
        "flags": [name.replace("_", " ") for name in flag_names(int(get("flags", 0)))],
    }


def _stamp(data: ReportData, i: int) -> str:
    if data.stamps is None or i >= len(data.stamps):
        return ""
    indices = choose_rgb(data.bands, data.rgb)
    sigma = np.zeros(data.stamps.shape[-1]) if data.noise_sigma is None else data.noise_sigma[i]
    return colour_stamp(data.stamps[i], sigma, indices, data.stretch, data.softening)


def _side(data: ReportData) -> float:
    """Return the side of a stamp [arcsec], NaN where it is not known."""
    if data.stamps is None or not data.pixel_scale:
        return math.nan
    return data.stamps.shape[1] * data.pixel_scale


def _ring(data: ReportData, theta_e: float) -> float | None:
    """Return the Einstein radius in percent of the stamp's side."""
    radius = 100.0 * float(theta_e) / _side(data)
    return round(radius, 2) if math.isfinite(radius) and 0 < radius < 70 else None


def _scale_bar(data: ReportData) -> tuple[float, str] | None:
    """Return length in percent of the side and label of the scale bar."""
    side = _side(data)
    length = bar_length(side)
    return (round(100 * length / side, 2), f"{length:g}″") if length else None


def flags_seen(candidates: Table | None) -> list[tuple[str, str]]:
    """Return name and meaning of each flag that a candidate has."""
    if candidates is None or "flags" not in candidates.colnames:
        return []
    seen = int(np.bitwise_or.reduce(np.asarray(candidates["flags"], dtype=int), initial=0))
    return [(str(flag.name).lower().replace("_", " "), text) for flag, text in FLAGS.items() if seen & flag]


def detector_view(detector: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the metrics and pictures of the detector."""
    if detector is None:
        return None
    metrics = detector.get("metrics") or {}
    rows = []
    for key, words in _METRICS.items():
        if isinstance(metrics.get(key), (int, float)):
            text = count(metrics[key]) if key.startswith("n_") else number(metrics[key])
            error = next(
                (e for part in ("err", "std") if (e := metrics.get(f"{key}_{part}")) is not None), None
            )
            text += "" if error is None else f" ± {number(error)}"
            rows.append((words, text))
    pictures: list[Picture] = []
    if detector.get("roc") is not None:
        pictures.append(
            picture(
                draw_roc,
                detector["roc"],
                alt="true positive rate against false positive rate",
                caption="ROC on held-out folds. A survey lives at the left end, with few false positives.",
            )
        )
    if detector.get("scores_lens") is not None and detector.get("scores_nonlens") is not None:
        pictures.append(
            picture(
                draw_scores,
                detector["scores_lens"],
                detector["scores_nonlens"],
                alt="histograms of the score by class",
                caption="Out-of-fold scores of both classes.",
            )
        )
    pictures += _performance(metrics)
    return {"metrics": rows, "pictures": pictures}


def _performance(metrics: Mapping[str, Any]) -> list[Picture]:
    """Return the pictures of completeness, false positives and calibration that the metrics have numbers for."""
    threshold = number(metrics.get("threshold"), 4)
    pictures = [
        picture(
            draw_completeness,
            name,
            part,
            alt=f"share of lenses found against {name}",
            caption=f"Lenses that score at least {threshold}, where one non-lens in a thousand does; 68 % intervals.",
        )
        for name, part in (metrics.get("completeness") or {}).items()
    ]
    if metrics.get("fpr_by_kind"):
        caption = f"What is taken for a lens at that threshold ({threshold}), by kind, with their number."
        alt = "false positive rate of each kind of non-lens"
        pictures.append(picture(draw_kinds, metrics["fpr_by_kind"], alt=alt, caption=caption))
    if metrics.get("reliability"):
        caption = "Probabilities and rates on objects that the calibration has not seen, at this set's share of lenses."
        alt = "rate of lenses against the probability told"
        pictures.append(picture(draw_reliability, metrics["reliability"], alt=alt, caption=caption))
    return pictures


def training_view(training: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return what the networks were taught: the kinds and their numbers, the shortcut test, the gallery."""
    if training is None:
        return None
    names, numbers = np.unique(np.asarray(training["kinds"], str), return_counts=True)
    order = np.argsort(-numbers, kind="stable")
    shown = draw_gallery(training["image"], training["noise_sigma"], training["kinds"], training["rgb"])
    shortcut = training.get("shortcut")
    return {
        "kinds": ", ".join(f"{numbers[k]:,} {names[k].replace('_', ' ')}" for k in order),
        "shortcut": f"{shortcut[0]:.2f} ± {shortcut[1]:.2f}" if shortcut else "",
        "gallery": data_uri(encode_gallery(shown), "image/jpeg"),
    }


def history_pictures(history: Sequence[Mapping[str, Any]] | None) -> list[Picture]:
    """Return one picture of the training curves a task."""
    pictures = []
    for task in dict.fromkeys(row.get("task", "") for row in history or ()):
        rows = [row for row in history or () if row.get("task", "") == task]
        words = f"Training of the {task}" if task else "Training"
        pictures.append(
            picture(draw_history, rows, alt="loss against epoch", caption=f"{words}: loss, a line a fold.")
        )
    return pictures


def quarantine_view(quarantine: Table | None) -> dict[str, Any] | None:
    """Return the quarantine table as rows, with counts by reason."""
    if quarantine is None:
        return None
    names = [
        name for name in ("reason", "detail", "path", "hdu", "unit", "object") if name in quarantine.colnames
    ]
    rows = [[str(row[name]) for name in names] for row in quarantine[:MAX_QUARANTINE]]
    reasons = Counter(str(reason) for reason in quarantine["reason"]).most_common(8)
    return {"names": names, "rows": rows, "total": len(quarantine), "reasons": reasons}
