import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import fbeta_score, roc_auc_score

from lenspipe.training.metrics import (
    detector_metrics,
    roc_by_threshold,
    roc_curves,
    score_metrics,
)


@pytest.fixture(scope="module")
def oof():
    rng = np.random.default_rng(0)
    label = (rng.uniform(size=4000) < 0.5).astype(int)
    score = np.round(norm.cdf(rng.normal(1.5 * (2 * label - 1), 1)), 3)  # rounding makes ties
    return {"label": label, "score": score, "fold": rng.integers(0, 4, 4000)}


def _tpr_with_at_most(label, score, false_positives):
    """Oracle by brute force over all thresholds."""
    best = 0.0
    for threshold in [*np.unique(score), 2.0]:
        if np.sum(score[label == 0] >= threshold) <= false_positives:
            best = max(best, np.mean(score[label == 1] >= threshold))
    return best


def test_true_positive_rates_agree_with_brute_force(oof):
    label, score = oof["label"], oof["score"]
    got = score_metrics(label, score)
    n = int(np.sum(label == 0))
    for name, allowed in (
        ("tpr0", 0),
        ("tpr10", 9),
        ("tpr_at_fpr_1e-3", np.floor(1e-3 * n)),
        ("tpr_at_fpr_1e-4", np.floor(1e-4 * n)),
    ):
        assert got[name] == _tpr_with_at_most(label, score, allowed), name
    assert got["tpr0"] < got["tpr10"]


def test_auroc_is_the_closed_form_of_two_gaussians(oof):
    expected = norm.cdf(3.0 / np.sqrt(2))
    assert abs(score_metrics(oof["label"], oof["score"])["auroc"] - expected) < 0.01


def test_f_beta_is_the_best_over_thresholds(oof):
    label, score = oof["label"], oof["score"]
    got = score_metrics(label, score)
    best = max(fbeta_score(label, score >= t, beta=np.sqrt(0.001)) for t in np.unique(score))
    np.testing.assert_allclose(got["f_beta"], best, rtol=1e-12)
    np.testing.assert_allclose(
        fbeta_score(label, score >= got["f_beta_threshold"], beta=np.sqrt(0.001)), best, rtol=1e-12
    )


def test_confusion_and_accuracy():
    got = score_metrics(np.array([0, 0, 0, 1, 1]), np.array([0.1, 0.6, 0.2, 0.9, 0.4]))
    assert got["confusion"] == [[2, 1], [1, 1]]
    assert got["accuracy"] == 0.6
    assert (got["n_lens"], got["n_nonlens"]) == (2, 3)


def test_one_class_gives_nan_not_an_error():
    got = score_metrics(np.zeros(5), np.linspace(0, 1, 5))
    assert np.isnan(got["auroc"])
    assert got["n_lens"] == 0


def test_pooled_and_per_fold(oof):
    got = detector_metrics(oof)
    assert got["auroc"] == roc_auc_score(oof["label"], oof["score"])
    each = [roc_auc_score(oof["label"][oof["fold"] == k], oof["score"][oof["fold"] == k]) for k in range(4)]
    assert [f["auroc"] for f in got["folds"]] == each
    np.testing.assert_allclose(got["auroc_std"], np.std(each, ddof=1))
    assert sum(f["n_lens"] for f in got["folds"]) == got["n_lens"]


def test_roc_curves_are_steps_from_some_lenses_to_all(oof):
    curves = roc_curves(oof)
    assert curves["tpr"].shape == (4, len(curves["fpr"]))
    assert np.all(np.diff(curves["tpr"], axis=1) >= 0)
    np.testing.assert_array_equal(curves["tpr"][:, -1], 1)
    k0 = oof["fold"] == 0
    assert curves["tpr"][0, 0] == _tpr_with_at_most(oof["label"][k0], oof["score"][k0], 0)
    np.testing.assert_allclose(curves["tpr_mean"], curves["tpr"].mean(axis=0))


def test_rates_by_threshold_are_means_over_folds(oof):
    got = roc_by_threshold(oof)
    assert np.all(np.diff(got["threshold"]) < 0)
    for k in (3, len(got["threshold"]) // 2):
        for name, value in (("tpr", 1), ("fpr", 0)):
            each = [
                np.mean(oof["score"][(oof["fold"] == f) & (oof["label"] == value)] >= got["threshold"][k])
                for f in range(4)
            ]
            found = [got[f"{name}_{part}"][k] for part in ("mean", "median", "std")]
            np.testing.assert_allclose(found, [np.mean(each), np.median(each), np.std(each)], atol=1e-12)


def test_each_metric_of_a_table_has_an_error(oof):
    got = detector_metrics({**oof, "group": np.arange(4000) // 2}, seed=1)
    for name in ("auroc", "tpr0", "tpr10", "tpr_at_fpr_1e-3", "tpr_at_fpr_1e-4", "f_beta", "accuracy"):
        assert 0 < got[f"{name}_err"] < 0.2, name
    assert got["purity_top_1000"] > 0.99
    assert np.all(np.array(got["confusion_err"]) > 0)
    assert not any(name.endswith("_err") for name in got["folds"][0])
