"""`lenspipe evaluate`: a bundle measured on labelled data that it has not seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

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
    stamps = load_stamps(data, lenses_only=bundle.task == "regressor")
    bundle.check(stamps.bands, stamps.pixel_scale, stamps.size)
    out.mkdir(parents=True, exist_ok=True)
    measure = _evaluate_detector if bundle.task == "detector" else _evaluate_regressor
    metrics, table, shown, lines = measure(bundle, stamps, mc_samples, seed)
    write_json(out / "metrics.json", metrics)
    write_table(table, out / "predictions.parquet")
    data_shown = ReportData(
        title=f"{bundle.task} {Path(bundle_path).name}",
        subtitle=f"{len(table):,} simulated stamps of {data}",
        notices=("Scores on simulations say little about real skies.",),
        **{bundle.task: shown},
    )
    write_report(out / "report.html", data_shown)
    return [*lines, f"wrote {out / 'metrics.json'}", f"wrote {out / 'report.html'}"]


def _evaluate_detector(bundle, stamps, mc_samples: int, seed: int):
    from astropy.table import Table

    from lenspipe.training.metrics import roc_curves, roc_points, score_metrics
    from lenspipe.training.predict import score_stamps

    scores = score_stamps(bundle, stamps.image, stamps.noise_sigma, mc_samples, seed, 64)
    label = stamps.labels()
    table = Table(
        {
            "sample_id": stamps.truth["sample_id"],
            "label": label,
            "score": scores.score,
            "score_err": scores.score_err,
            "p_lens": scores.p_lens,
        }
    )
    metrics: dict[str, Any] = score_metrics(label, scores.score)
    folds = [score_metrics(label, scores.score_fold[:, k]) for k in range(scores.score_fold.shape[1])]
    metrics |= {"auroc_std": float(np.std([fold["auroc"] for fold in folds])), "folds": folds}
    repeated = {
        "label": np.tile(label, len(folds)),
        "score": scores.score_fold.T.ravel(),
        "fold": np.repeat(np.arange(len(folds)), len(label)),
    }
    roc = roc_curves(repeated)
    curves = [roc_points(label, scores.score_fold[:, k])[:2] for k in range(len(folds))]
    shown = {
        "metrics": metrics,
        "roc": {**{name: roc[name] for name in ("fpr", "tpr_mean", "tpr_std")}, "folds": curves},
        "scores_lens": scores.score[label == 1],
        "scores_nonlens": scores.score[label == 0],
    }
    line = (
        f"AUROC {metrics['auroc']:.4f}, TPR0 {metrics['tpr0']:.3f}, TPR10 {metrics['tpr10']:.3f}, "
        f"{metrics['n_lens']} lenses, {metrics['n_nonlens']} others (simulations)"
    )
    return metrics, table, shown, [line]


def _evaluate_regressor(bundle, stamps, mc_samples: int, seed: int):
    from astropy.table import Table

    from lenspipe.core.schema import target_columns
    from lenspipe.training.metrics import regressor_metrics
    from lenspipe.training.predict import sample_posteriors
    from lenspipe.training.targets import to_network

    posteriors = sample_posteriors(bundle, stamps.image, stamps.noise_sigma, max(2, mc_samples), seed, 64)
    names = list(posteriors)
    true = stamps.targets(names)
    transformed = to_network(true, names)
    table = Table({"sample_id": stamps.truth["sample_id"]})
    for k, (target, posterior) in enumerate(posteriors.items()):
        table[f"{target}_true"], table[f"{target}_truth"] = true[:, k], transformed[:, k]
        table[target] = posterior.median
        for part in ("err_lo", "err_hi", "aleatoric", "epistemic", "mean", "sigma"):
            table[f"{target}_{part}"] = getattr(posterior, part)
    metrics = regressor_metrics(table, names)
    shown = {
        target: {
            "true": table[f"{target}_true"],
            "median": table[target],
            "err_lo": table[f"{target}_err_lo"],
            "err_hi": table[f"{target}_err_hi"],
            "unit": target_columns([target])[0].unit,
            "metrics": metrics[target],
        }
        for target in names
    }
    lines = [
        f"{target:<8} bias {m['bias']:+.3f}, scatter {m['scatter68']:.3f} (fractions), "
        f"68 % coverage {m['coverage']['0.68']:.2f}, {m['n_test']} lenses (simulations)"
        for target, m in metrics.items()
    ]
    return metrics, table, shown, lines
