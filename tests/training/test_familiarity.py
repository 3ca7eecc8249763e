import numpy as np
import pytest
from sklearn.covariance import EmpiricalCovariance

from lenspipe.core.errors import InputError
from lenspipe.training.familiarity import (
    learn_features,
    load_familiarity,
    mean_novelty,
    save_familiarity,
)


@pytest.fixture(scope="module")
def features():
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(6, 6)) * np.array([1, 10, 0.1, 1, 1, 1])
    return rng.normal(size=(20_000, 6)) @ mixing + 3


def test_distances_are_those_of_mahalanobis(features):
    known = learn_features(features[:15_000], features[15_000:])
    oracle = EmpiricalCovariance().fit(features[:15_000])
    expected = np.sqrt(oracle.mahalanobis(features[:50]))
    np.testing.assert_allclose(known.novelty(features[:50]) * known.edge, expected, rtol=0.01)


def test_one_in_a_hundred_of_what_it_knows_is_unusual_and_what_it_does_not_know_is(features):
    known = learn_features(features[:10_000], features[10_000:15_000])
    assert 0.006 < np.mean(known.novelty(features[15_000:]) > 1) < 0.015
    turned = features[:500, ::-1]
    assert np.mean(known.novelty(turned) > 1) > 0.9


def test_features_that_never_vary_do_no_harm(features):
    dead = np.concatenate([features, np.zeros((len(features), 2))], axis=1)
    known = learn_features(dead[:10_000], dead[10_000:])
    assert np.isfinite(known.novelty(dead[:100])).all()


def test_a_stamps_novelty_does_not_depend_on_the_others(features):
    known = learn_features(features[:1000], features[1000:2000])
    np.testing.assert_array_equal(known.novelty(features[:64])[7:9], known.novelty(features[7:9]))


def test_of_many_features_the_lesser_directions_count_as_alike():
    rng = np.random.default_rng(1)
    train = rng.normal(size=(4000, 300)) * np.where(np.arange(300) < 20, 5.0, 1.0)
    known = learn_features(train[:3000], train[3000:])
    assert known.directions.shape == (300, 256)
    assert known.rest > 0
    odd = rng.normal(size=(100, 300)) * 3
    assert np.mean(known.novelty(odd) > 1) > 0.9


def test_it_comes_back_from_disk_and_damage_is_told(features, tmp_path):
    known = learn_features(features[:1000], features[1000:2000])
    path = tmp_path / "fold-0.familiar.npz"
    save_familiarity(known, path)
    again = load_familiarity(path)
    np.testing.assert_array_equal(again.novelty(features[:9]), known.novelty(features[:9]))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=r"fold-0.familiar.npz cannot be read"):
        load_familiarity(path)
    other = {"center": np.zeros(3), "directions": np.zeros((2, 2)), "spread": np.ones(2), "rest": 0.0}
    np.savez(path, scale=np.ones(3), edge=1.0, **other)
    with pytest.raises(InputError, match="does not hold"):
        load_familiarity(path)


def test_networks_are_averaged_and_without_knowledge_there_is_no_novelty(features):
    one, two = (learn_features(features[a : a + 1000], features[2000:3000]) for a in (0, 1000))
    got = mean_novelty([one, two], [features[:5], features[:5]])
    np.testing.assert_allclose(got, (one.novelty(features[:5]) + two.novelty(features[:5])) / 2)
    assert np.isnan(mean_novelty([], [features[:5]])).all()
