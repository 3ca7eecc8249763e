import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import accuracy_score, roc_auc_score, roc_curve

from lenspipe.training.bootstrap import bootstrap_errors, resample_groups, spread, weighted_metrics
from lenspipe.training.metrics import score_metrics


def draw(n, seed=0, decimals=3):
    rng = np.random.default_rng(seed)
    label = (rng.uniform(size=n) < 0.5).astype(int)
    return label, np.round(norm.cdf(rng.normal(1.2 * (2 * label - 1), 1)), decimals)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 30), st.integers(1, 5), st.integers(1, 9))
def test_groups_are_drawn_whole_and_their_number_is_kept(seed, groups, per_group, resamplings):
    group = np.random.default_rng(seed).permutation(np.repeat(np.arange(groups), per_group))
    weight = np.concatenate(list(resample_groups(group, seed, resamplings, at_once=4)))
    assert weight.shape == (resamplings, len(group))
    for name in range(groups):
        assert np.all(weight[:, group == name] == weight[:, group == name][:, :1])
    np.testing.assert_array_equal(weight.sum(axis=1), groups * per_group)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(30, 200), st.integers(1, 3))
def test_weights_of_one_give_the_metrics_themselves(seed, n, decimals):
    label, score = draw(n, seed, decimals)
    if label.all() or not label.any():
        return
    got, expected = weighted_metrics(label, score, np.ones((2, n))), score_metrics(label, score)
    assert set(got) <= set(expected)
    for name, values in got.items():
        np.testing.assert_allclose(values[1], expected[name], rtol=1e-12, err_msg=name)


def test_weights_are_those_of_scikit_learn():
    label, score = draw(500)
    weight = np.random.default_rng(1).integers(0, 4, (3, 500)).astype(float)
    got = weighted_metrics(label, score, weight)
    for k in range(3):
        np.testing.assert_allclose(got["auroc"][k], roc_auc_score(label, score, sample_weight=weight[k]))
        np.testing.assert_allclose(
            got["accuracy"][k], accuracy_score(label, score >= 0.5, sample_weight=weight[k])
        )
        fpr, tpr, _ = roc_curve(label, score, sample_weight=weight[k], drop_intermediate=False)
        np.testing.assert_allclose(got["tpr0"][k], tpr[fpr == 0].max())


def test_purity_is_that_of_the_list_with_ties_at_their_expected_share():
    label = np.array([1, 0, 1, 0] * 10)
    score = np.r_[0.9, 0.8, np.full(38, 0.5)]
    # 1 lens among the first 2, and of the 8 places left half go to lenses (19 of 38)
    got = weighted_metrics(label, score, np.ones((1, 40)))
    np.testing.assert_allclose(got["purity_top_10"], 0.5)
    assert "purity_top_100" not in got


def test_a_resampling_shorter_than_the_list_is_not_impure_for_that():
    weight = np.ones((3, 10))
    weight[0, 5:] = 0
    got = weighted_metrics(np.ones(10, int), np.linspace(0, 1, 10), weight)
    assert np.array_equal(got["purity_top_10"], [1, 1, 1])


def test_the_error_of_the_auroc_is_the_scatter_of_new_samples():
    error = bootstrap_errors(*draw(400), np.arange(400), seed=3)["auroc_err"]
    scatter = np.std([roc_auc_score(*draw(400, seed)) for seed in range(300)])
    assert error == pytest.approx(scatter, rel=0.3)


def test_copies_in_a_group_add_no_certainty():
    label, score = draw(400)
    once = bootstrap_errors(label, score, np.arange(400))
    copied = bootstrap_errors(np.tile(label, 4), np.tile(score, 4), np.tile(np.arange(400), 4))
    apart = bootstrap_errors(np.tile(label, 4), np.tile(score, 4), np.arange(1600))
    assert copied["auroc_err"] == pytest.approx(once["auroc_err"], rel=0.01)
    assert apart["auroc_err"] == pytest.approx(0.5 * once["auroc_err"], rel=0.25)
    assert np.shape(once["confusion_err"]) == (2, 2)


def test_a_set_of_one_class_has_no_error_of_what_needs_both():
    got = bootstrap_errors(np.zeros(20, int), np.linspace(0, 1, 20), np.arange(20))
    assert np.isnan(got["auroc_err"])
    assert got["accuracy_err"] > 0


def test_spread_leaves_out_what_is_not_finite():
    assert spread(np.array([1.0, np.nan, 3.0])) == pytest.approx(np.sqrt(2))
    assert np.isnan(spread(np.array([1.0, np.nan])))


def test_the_seed_alone_decides():
    label, score = draw(100)
    first, again, other = (bootstrap_errors(label, score, np.arange(100), seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other
