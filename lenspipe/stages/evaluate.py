"""`lenspipe evaluate`: a bundle measured on labelled data that it has not seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lenspipe.io.cards import sets_of
from lenspipe.io.files import write_json


def evaluate_bundle(bundle_path: Path, data: Path, out: Path, mc_samples: int, seed: int) -> list[str]:
    """Write ``metrics.json``, ``predictions.parquet`` and ``report.html`` to `out`; return a summary.

    Raises
    ------
    InputError, ModelMismatch
        If the data are not a simulated set, or not one that the model was made for.
    """
    from lenspipe.io.tables import write_table
    from lenspipe.report.data import ReportData
    from lenspipe.report.html import write_report
    from lenspipe.training.bundle import load_bundle
    from lenspipe.training.datasets import load_stamps

    bundle = load_bundle(bundle_path)
    stamps = load_stamps(data, bundle.task == "regressor", bundle.needs_mask)
    bundle.check(stamps.bands, stamps.pixel_scale, stamps.size, str(data))
    out.mkdir(parents=True, exist_ok=True)
    measure = _evaluate_detector if bundle.task == "detector" else _evaluate_regressor
    metrics, table, shown, lines = measure(bundle, stamps, mc_samples, seed)
    metrics["data"] = f"{len(table):,} simulated stamps of {stamps.survey}, set {stamps.data_hash}"
    notices = ["Scores on simulations say little about real skies."]
    metrics["seen"] = stamps.data_hash in sets_of(bundle.card)
    if metrics["seen"]:
        notices.append("The model was trained on this set: these figures are too good. Simulate another one.")
        lines.append(f"WARNING: {notices[-1]}")
    write_json(out / "metrics.json", metrics)
    write_table(table, out / "predictions.parquet")
    data_shown = ReportData(
        title=f"{bundle.task} {Path(bundle_path).name}",
        subtitle=f"{len(table):,} simulated stamps of {data}",
        notices=tuple(notices),
        **{bundle.task: shown},
    )
    write_report(out / "report.html", data_shown)
    return [*lines, f"wrote {out / 'metrics.json'}", f"wrote {out / 'report.html'}"]


def _evaluate_detector(bundle, stamps, mc_samples: int, seed: int):
    from astropy.table import Table

    from lenspipe.training.bootstrap import spread
    from lenspipe.training.calibrate import measure_calibration, pool_probability
    from lenspipe.training.completeness import look_closer
    from lenspipe.training.metrics import roc_by_threshold, roc_curves, roc_points, score_metrics
    from lenspipe.training.scores import score_stamps

    scores = score_stamps(bundle, **stamps.inputs(), mc_samples=mc_samples, seed=seed)
    label, table = stamps.labels(), stamps.traits()
    table["label"], table["score"] = label, scores.score
    table["score_err"], table["p_lens"] = scores.score_err, scores.p_lens
    metrics: dict[str, Any] = score_metrics(label, scores.score, table["group"], seed)
    folds = [score_metrics(label, scores.score_fold[:, k]) for k in range(scores.score_fold.shape[1])]
    metrics |= {"auroc_std": spread(np.array([fold["auroc"] for fold in folds])), "folds": folds}
    if 0 < label.mean() < 1:
        uncalibrated = {**bundle.calibration, "method": "temperature", "temperature": 1.0}
        told = [
            pool_probability(scores.score_fold, c, label.mean()) for c in (uncalibrated, bundle.calibration)
        ]
        metrics |= measure_calibration(label, *told, table["group"], seed)
    metrics |= look_closer(table, bundle.card["thresholds"])
    repeated = {
        "label": np.tile(label, len(folds)),
        "score": scores.score_fold.T.ravel(),
        "fold": np.repeat(np.arange(len(folds)), len(label)),
    }
    metrics["roc_by_threshold"] = roc_by_threshold(repeated)
    roc = roc_curves(repeated)
    curves = [roc_points(label, scores.score_fold[:, k])[:2] for k in range(len(folds))]
    shown = {
        "metrics": metrics,
        "roc": {**{name: roc[name] for name in ("fpr", "tpr_mean", "tpr_std")}, "folds": curves},
        "scores_lens": scores.score[label == 1],
        "scores_nonlens": scores.score[label == 0],
    }
    return metrics, Table(table), shown, _describe_detector(metrics)


def _describe_detector(metrics: dict[str, Any]) -> list[str]:
    def told(name: str, words: str, digits: int = 3) -> str:
        return f"{words} {metrics[name]:.{digits}f} +- {metrics[f'{name}_err']:.{digits}f}"

    lines = [
        f"{told('auroc', 'AUROC', 4)}, {told('tpr0', 'TPR0')}, {told('tpr10', 'TPR10')}, "
        f"{metrics['n_lens']} lenses, {metrics['n_nonlens']} others (simulations)",
        f"{told('tpr_at_fpr_1e-3', 'TPR at FPR 1e-3')}, {told('tpr_at_fpr_1e-4', 'at 1e-4')}, "
        f"{told('f_beta', 'F_beta', 4)}, {told('accuracy', 'accuracy')}",
    ]
    lists = [name for name in metrics if name.startswith("purity_top_") and not name.endswith("_err")]
    if lists:
        best = (told(name, f"best {name.removeprefix('purity_top_')}") for name in lists)
        lines.append("purity of the " + ", ".join(best))
    if "ece" in metrics:
        lines.append(
            f"calibration error: {told('ece_before', 'scores')}, {told('ece', 'p_lens')} (at these data's prior)"
        )
    kinds = list(metrics["fpr_by_kind"].items())[:3]
    if kinds:
        worst = ", ".join(f"{kind} {part['false_positives']} of {part['n']}" for kind, part in kinds)
        lines.append(f"most often taken for lenses at the threshold {metrics['threshold']:.4f}: {worst}")
    return lines


def _evaluate_regressor(bundle, stamps, mc_samples: int, seed: int):
    from lenspipe.core.schema import target_columns
    from lenspipe.training.posterior import WITH_MOMENTS, sample_posteriors
    from lenspipe.training.recalibrate import LEVELS, before_calibration, complete_calibration
    from lenspipe.training.regression import look_closer, regressor_metrics
    from lenspipe.training.targets import to_network

    posteriors = sample_posteriors(bundle, **stamps.inputs(), mc_samples=max(2, mc_samples), seed=seed)
    names, table = list(posteriors.by_target), stamps.traits()
    table.remove_columns([name for name in ("theta_e",) if name in table.colnames])
    true = stamps.targets(names)
    transformed = to_network(true, names)
    for k, target in enumerate(names):
        table[f"{target}_true"], table[f"{target}_truth"] = true[:, k], transformed[:, k]
    for name, values in posteriors.columns(WITH_MOMENTS).items():
        table[name] = values
    conformal = complete_calibration(bundle.calibration, names)["conformal"]
    factors = {target: np.array([conformal[target][str(level)] for level in LEVELS]) for target in names}
    metrics = regressor_metrics(table, names, factors, before_calibration(table, names, bundle.calibration))
    closer = look_closer(table, names)
    metrics = {target: {**metrics[target], **closer[target]} for target in names}
    shown = {
        target: {
            **{part: table[f"{target}_{part}"] for part in ("true", "err_lo", "err_hi")},
            "median": table[target],
            "unit": target_columns([target])[0].unit,
            "metrics": metrics[target],
        }
        for target in names
    }
    return metrics, table, shown, [_describe_target(target, metrics[target]) for target in names]


def _describe_target(target: str, m: dict[str, Any]) -> str:
    from lenspipe.training.targets import is_signed

    others = ", ".join(f"{name} {part['scatter68']:.3f}" for name, part in m["baselines"].items())
    return (
        f"{target:<8} bias {m['bias']:+.4f}, scatter {m['scatter68']:.4f} "
        f"({'absolute' if is_signed(target) else 'fractions'}; {others}), "
        f"68 % coverage {m['coverage']['0.68']:.3f} +- {m['coverage_err']['0.68']:.3f} "
        f"(before calibration {m['coverage_before']['0.68']:.3f}), {m['n_test']} lenses (simulations)"
    )
