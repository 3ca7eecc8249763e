import shutil

import numpy as np
import pytest
from astropy.table import Table

from lenspipe.core.errors import InputError, ModelMismatch
from lenspipe.io.files import write_json
from lenspipe.io.tables import read_table, write_table
from lenspipe.training.combine import combine_bundles, fit_shares, mix_tables
from lenspipe.training.datasets import load_stamps
from lenspipe.training.posterior import sample_posteriors


def _table(truth, noise, seed):
    mean = truth + noise * np.random.default_rng(seed).normal(size=len(truth))
    table = Table({"theta_e_truth": truth, "theta_e_mean": mean, "theta_e_sigma": np.full(len(truth), noise)})
    for name in ("err_lo", "err_hi", "aleatoric", "epistemic"):
        table[f"theta_e_{name}"] = np.full(len(truth), noise)
    table["theta_e"], table["novelty"] = np.exp(mean), np.full(len(truth), 0.5)
    return table


def test_shares_are_the_inverse_variances_of_independent_predictions():
    truth = np.random.default_rng(0).normal(0.2, 0.3, 50_000)
    tables = [_table(truth, noise, k) for k, noise in enumerate((0.1, 0.2, 0.1))]
    np.testing.assert_allclose(fit_shares(tables, "theta_e"), np.array([4, 1, 4]) / 9, atol=0.02)


def test_what_adds_nothing_has_no_share():
    truth = np.random.default_rng(0).normal(0.2, 0.3, 20_000)
    good, copy = _table(truth, 0.1, 1), _table(truth, 0.1, 1)
    copy["theta_e_mean"] = np.asarray(copy["theta_e_mean"]) + np.random.default_rng(9).normal(0, 0.1, 20_000)
    assert fit_shares([good, copy], "theta_e")[1] < 0.03


def test_the_mixture_is_better_than_its_parts_and_its_error_is_not_less_than_what_it_should_be():
    truth = np.random.default_rng(0).normal(0.2, 0.3, 20_000)
    tables = [_table(truth, 0.1, k) for k in (1, 2)]
    mixed = mix_tables(tables, {"theta_e": [0.5, 0.5]})
    off = np.asarray(mixed["theta_e_mean"]) - truth
    np.testing.assert_allclose(off.std(), 0.1 / np.sqrt(2), rtol=0.02)
    assert np.all(np.asarray(mixed["theta_e_sigma"]) >= 0.1)


@pytest.fixture
def other(regressor, tmp_path):
    """The same networks in another order, as another bundle."""
    folder = shutil.copytree(regressor.path, tmp_path / "other")
    card = dict(regressor.card)
    for kind in ("weights", "familiar"):
        first, second = card[kind]
        shutil.copyfile(regressor.path / first, folder / second)
        shutil.copyfile(regressor.path / second, folder / first)
        card[kind] = {first: card[kind][second], second: card[kind][first]}
    write_json(folder / "bundle.json", card)
    return folder


def test_a_combination_is_a_bundle_whose_networks_have_their_shares(regressor, other, data, tmp_path):
    joined = combine_bundles([regressor.path, other], tmp_path / "joined", "both")
    assert len(joined.networks()) == len(joined.familiarities()) == 4
    assert joined.architecture == "inception+inception"
    for shares in joined.calibration["shares"].values():
        np.testing.assert_allclose(sum(shares), 1.0)
    assert len(read_table(joined.path / "oof.parquet")) == len(read_table(regressor.path / "oof.parquet"))
    stamps = load_stamps(data, lenses_only=True)
    found = sample_posteriors(joined, stamps.image[:5], stamps.noise_sigma[:5], 6)
    assert np.isfinite(found["theta_e"].median).all()
    assert np.isfinite(found.novelty).all()
    with pytest.raises(InputError, match="holds a model already"):
        combine_bundles([regressor.path, other], tmp_path / "joined")


def test_what_does_not_belong_together_is_refused(regressor, detector, other, tmp_path):
    with pytest.raises(InputError, match="two regressors at least"):
        combine_bundles([regressor.path], tmp_path / "x")
    with pytest.raises(ModelMismatch, match="a regressor is needed"):
        combine_bundles([regressor.path, detector.path], tmp_path / "x")
    oof = read_table(other / "oof.parquet")
    write_table(oof[: len(oof) // 2], other / "oof.parquet")
    with pytest.raises(ModelMismatch, match="held out other lenses"):
        combine_bundles([regressor.path, other], tmp_path / "x")


def test_lenses_of_several_sets_are_told_apart(regressor, other, tmp_path):
    folders = [shutil.copytree(path, tmp_path / name) for path, name in ((regressor.path, "a"), (other, "b"))]
    wanted = combine_bundles([regressor.path, other], tmp_path / "wanted").calibration["shares"]
    oof = read_table(folders[0] / "oof.parquet")
    oof["set"] = np.arange(len(oof)) % 2
    oof["sample_id"] //= 2  # each number stands in both sets
    write_table(oof, folders[0] / "oof.parquet")
    second = read_table(folders[1] / "oof.parquet")
    second["set"], second["sample_id"] = oof["set"], oof["sample_id"]
    write_table(second[np.random.default_rng(1).permutation(len(second))], folders[1] / "oof.parquet")
    joined = combine_bundles(folders, tmp_path / "joined")
    for target, shares in joined.calibration["shares"].items():
        np.testing.assert_allclose(shares, wanted[target], atol=1e-6)
    second["set"] = 0
    write_table(second, folders[1] / "oof.parquet")
    with pytest.raises(ModelMismatch, match="held out other lenses"):
        combine_bundles(folders, tmp_path / "x")
