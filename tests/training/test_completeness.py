import numpy as np
from astropy.table import Table

from lenspipe.training.completeness import measure_completeness, rate_by_kind


def make_table(n=4000):
    rng = np.random.default_rng(0)
    label = np.arange(n) % 2
    theta_e = np.where(label, rng.uniform(0.5, 2.5, n), np.nan)
    # lenses above 1.5 arcsec are found, and rings are taken for lenses one time in ten
    kind = np.where(label, "lens", rng.choice(["ring", "spiral"], n))
    score = np.where(theta_e > 1.5, 0.9, 0.1)
    score[(kind == "ring") & (rng.uniform(size=n) < 0.1)] = 0.9
    return Table(
        {"label": label, "score": score, "kind": kind, "theta_e": theta_e, "snr": np.full(n, np.nan)}
    )


def test_completeness_tells_what_is_found():
    got = measure_completeness(make_table(), 0.5)
    assert set(got) == {"theta_e"}  # no lens has an S/N
    part = got["theta_e"]
    assert len(part["edges"]) == 9
    assert sum(part["n"]) == 2000
    assert part["rate"][:3] == [0.0] * 3
    assert part["rate"][-3:] == [1.0] * 3
    assert np.all(np.array(part["low"]) <= part["rate"])
    assert np.all(np.array(part["high"]) >= part["rate"])
    assert part["high"][0] < 0.01


def test_the_interval_holds_68_per_cent_of_the_truths():
    rng = np.random.default_rng(1)
    inside = []
    for truth in rng.uniform(0.02, 0.98, 600):
        table = {"label": np.ones(25, int), "score": rng.uniform(size=25), "snr": rng.uniform(20, 99, 25)}
        part = measure_completeness(table, 1 - truth)["snr"]
        inside += [low <= truth <= high for low, high in zip(part["low"], part["high"], strict=True)]
    assert abs(np.mean(inside) - 0.683) < 0.06


def test_rates_by_kind_are_ranked_and_counted():
    table = make_table()
    got = rate_by_kind(table, 0.5)
    assert list(got) == ["ring", "spiral"]
    taken = (table["kind"] == "ring") & (table["score"] > 0.5)
    assert got["ring"]["false_positives"] == taken.sum()
    assert got["ring"]["rate"] == taken.sum() / got["ring"]["n"]
    assert got["ring"]["low"] < got["ring"]["rate"] < got["ring"]["high"] < 0.15
    assert got["spiral"]["rate"] == 0.0
    assert got["spiral"]["high"] > 0.0


def test_nothing_to_count_is_no_error():
    one = {
        "label": np.ones(3, int),
        "score": np.ones(3),
        "kind": np.full(3, "lens"),
        "psf_fwhm": np.full(3, 0.9),
    }
    assert rate_by_kind(one, 0.5) == {}
    assert measure_completeness(one, np.inf)["psf_fwhm"]["rate"] == [0.0]
    assert measure_completeness({**one, "label": np.zeros(3, int)}, 0.5) == {}
