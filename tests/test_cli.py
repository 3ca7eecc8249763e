"""The command line: quick to answer, and every mistake is one line and status 2."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from astropy.table import Table
from support import lenspipe

from lenspipe.config import load_config
from lenspipe.io.shards import list_shards, read_shard
from lenspipe.io.tables import read_table

COMMANDS = (
    "run",
    "plan",
    "scan",
    "simulate",
    "train",
    "evaluate",
    "predict",
    "slip",
    "report",
    "models",
    "surveys",
    "doctor",
    "config",
)


def test_help_names_every_command_of_the_contract():
    answer = lenspipe("--help")
    assert answer.returncode == 0
    for name in COMMANDS:
        assert f"  {name} " in answer.stdout
        assert lenspipe(name, "--help").returncode == 0
    assert lenspipe("--version").stdout.startswith("lenspipe 0.")


def test_importing_the_command_line_loads_nothing_heavy():
    code = (
        "import sys, lenspipe.cli; "
        "print([m for m in ('tensorflow', 'keras', 'matplotlib', 'photutils', 'dask', 'astropy') if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


MISTAKES = {
    "misspelt key": (
        ["run", "{folder}/broken.toml", "--out", "{folder}/out"],
        "unknown key 'ingest.imagse'; did you mean 'ingest.images'",
    ),
    "missing recipe": (["run", "no.toml", "--out", "{folder}/out"], "cannot read the recipe 'no.toml'"),
    "bad value": (["run", "{folder}/good.toml", "--out", "{folder}/out", "--set", "run.seed=x"], "run.seed"),
    "unknown stage": (
        ["run", "{folder}/good.toml", "--out", "{folder}/out", "--stage", "fnid"],
        "unknown stage 'fnid'; stages are simulate",
    ),
    "unknown survey": (
        ["simulate", "--survey", "dess", "--count", "1", "--out", "{folder}/out"],
        "unknown survey 'dess'",
    ),
    "nothing to simulate": (["simulate", "--out", "{folder}/out"], "--count N"),
    "options without effect on real images": (
        ["simulate", "--into", "{folder}", "--kind", "mixed", "--size", "40", "--out", "{folder}/out"],
        "--kind, --size cannot go with --into",
    ),
    "stamps and real images": (
        ["simulate", "--into", "{folder}", "--count", "4", "--out", "{folder}/out"],
        "--count cannot go with --into",
    ),
    "lenses without tiles": (
        ["simulate", "--count", "4", "--lenses", "4", "--out", "{folder}/out"],
        "--lenses is a number per tile",
    ),
    "nothing to paint into": (
        ["simulate", "--into", "{folder}/empty", "--out", "{folder}/out"],
        "no FITS files or HDF5 stacks",
    ),
    "unknown option": (["simulate", "--cuont", "3", "--out", "{folder}/out"], "No such option"),
    "no models": (["scan", "a.fits", "--survey", "cfhtls", "--out", "{folder}/out"], "no packaged detector"),
    "no such bundle": (
        ["scan", "{folder}/table.ecsv", "--survey", "des", "--out", "{folder}/out", "--detector", "nope"],
        "not a model bundle",
    ),
    "no detector": (
        [
            "run",
            "{folder}/good.toml",
            "--out",
            "{folder}/out",
            "--set",
            "ingest.images=['{folder}/good.fits']",
        ],
        "no detector",
    ),
    "nothing to train on": (
        ["run", "{folder}/good.toml", "--out", "{folder}/out", "--set", "train.detector.folds=2"],
        "nothing to train on",
    ),
    "one fold": (
        ["run", "{folder}/good.toml", "--out", "{folder}/out", "--set", "train.detector.folds=1"],
        "at least 2 folds",
    ),
    "grades without names": (
        [
            *("run", "{folder}/good.toml", "--out", "{folder}/out", "--set", "train.detector.folds=2"),
            *("--set", "simulate.count=4", "--set", "train.detector.graded=['{folder}/table.ecsv']"),
        ],
        "must have a column object_id or name",
    ),
    "grades for a regressor": (
        [
            *("run", "{folder}/good.toml", "--out", "{folder}/out", "--set", "train.regressor.folds=2"),
            *("--set", "simulate.count=4", "--set", "train.regressor.graded=['{folder}/table.ecsv']"),
        ],
        "train the detector only",
    ),
    "no shards": (["train", "detector", "--data", "{folder}/empty", "--out", "{folder}/out"], "no shards"),
    "unknown task": (
        ["train", "finder", "--data", "{folder}/empty", "--out", "{folder}/out"],
        "detector, regressor",
    ),
    "missing columns": (["slip", "{folder}/table.ecsv", "--out", "{folder}/out"], "z_src"),
    "missing table": (["slip", "gone.csv", "--out", "{folder}/out"], "not found"),
    "out of slip is a file": (
        ["slip", "{folder}/table.ecsv", "--out", "{folder}/good.toml"],
        "must be a folder",
    ),
    "seed too large": (
        ["simulate", "--count", "1", "--seed", "9" * 23, "--out", "{folder}/out"],
        "less than",
    ),
    "no run directory": (["report", "{folder}/empty"], "is no run"),
    "no scheduler": (
        ["run", "{folder}/good.toml", "--out", "{folder}/out", "--scheduler", "nonsense://x"],
        "no Dask scheduler answers",
    ),
    "out is a file": (
        ["run", "{folder}/good.toml", "--out", "{folder}/good.toml"],
        "cannot make the run directory",
    ),
    "wrong table suffix": (["predict", "nope", "--data", "x", "--out", "t.txt"], ".parquet or .ecsv"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_clear_line(tmp_path, case):
    (tmp_path / "good.toml").write_text('survey = "des"\n')
    (tmp_path / "broken.toml").write_text("[ingest]\nimagse = 1\n")
    (tmp_path / "good.fits").touch()
    Table({"z_lens": [0.5]}).write(tmp_path / "table.ecsv", format="ascii.ecsv")
    (tmp_path / "empty").mkdir()
    words, message = MISTAKES[case]
    answer = lenspipe(*(word.replace("{folder}", str(tmp_path)) for word in words))
    assert answer.returncode == 2, answer.stderr
    assert message in answer.stderr
    assert "Traceback" not in answer.stderr
    # the parser adds its usage to what it does not know
    assert len(answer.stderr.strip().splitlines()) <= (8 if case == "unknown option" else 1), answer.stderr


def test_config_defaults_are_a_recipe_that_changes_nothing(tmp_path):
    answer = lenspipe("config", "--defaults")
    assert answer.returncode == 0
    (tmp_path / "all.toml").write_text(answer.stdout)
    assert load_config(tmp_path / "all.toml") == load_config()
    assert "# side of a stamp [px]" in answer.stdout


def test_surveys_models_and_doctor_answer():
    assert "0.263 arcsec/px" in lenspipe("surveys").stdout
    assert "Train your own" in lenspipe("models").stdout
    doctor = lenspipe("doctor")
    assert "keras on tensorflow" in doctor.stdout
    assert doctor.returncode in (0, 2)


def test_simulate_writes_the_contract_s_set_and_resumes(tmp_path):
    words = (
        "simulate",
        "--survey",
        "des",
        "--count",
        "10",
        "--size",
        "32",
        "--seed",
        "3",
        "--scene",
        "plain",
        "--set",
        "simulate.shard_size=4",
        "--out",
        tmp_path,
    )
    answer = lenspipe(*words)
    assert answer.returncode == 0, answer.stderr
    counts = json.loads((tmp_path / "run.json").read_text())["stages"][0]["counts"]
    assert counts["lenses_accepted"] == 5
    assert 0.02 < counts["acceptance_percent"] < 2.0
    assert f"acceptance {counts['acceptance_percent']:.3g} %" in answer.stderr
    shards = list_shards(tmp_path)
    images = np.concatenate([read_shard(path).image for path in shards])
    truth = read_table(tmp_path / "truth.parquet")
    assert images.shape == (10, 32, 32, 3)
    assert len(truth) == 10  # N requested = N delivered
    assert list(truth["sample_id"]) == list(range(10))
    assert list(truth["shard"]) == [0] * 4 + [1] * 4 + [2] * 2
    for name in (
        "kind",
        "row",
        "group",
        "theta_e",
        "phi_ext",
        "mag_src_g",
        "mag_lens_i",
        "mu",
        "snr",
        "snr_r",
        "psf_fwhm_g",
        "psf_beta",
        "sky_sigma_i",
    ):
        assert name in truth.colnames
    shards[1].unlink()
    again = lenspipe(*words)
    assert "3/3 units (2 done before)" in again.stderr
    assert np.array_equal(np.concatenate([read_shard(path).image for path in shards]), images)


def test_slip_of_a_table(tmp_path):
    rng = np.random.default_rng(1)
    n = 60
    from lenspipe.lensing.cosmology import sis_sigma_v

    z_lens, z_src, theta_e = rng.uniform(0.1, 0.5, n), rng.uniform(0.8, 2.0, n), rng.uniform(0.8, 2.0, n)
    sigma_v = sis_sigma_v(theta_e, z_lens, z_src) * rng.normal(1, 0.05, n)
    table = Table(
        {
            "z_lens": z_lens,
            "z_src": z_src,
            "theta_e": theta_e,
            "sigma_v": sigma_v,
            "sigma_v_err": 0.05 * sigma_v,
        }
    )
    table["z_src"][7] = 0.05
    table.write(tmp_path / "lenses.ecsv", format="ascii.ecsv")
    answer = lenspipe("slip", tmp_path / "lenses.ecsv", "--out", tmp_path / "slip", "--realizations", "50")
    assert answer.returncode == 0, answer.stderr
    result = json.loads((tmp_path / "slip/slip.json").read_text())
    assert result["gamma"] == pytest.approx(1.0, abs=4 * result["gamma_err_hi"])
    assert (result["n_lenses"], result["n_used"], result["realizations"]) == (n, n - 1, 50)
    assert answer.stdout.startswith("gamma = ")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "keys"),
    [
        (
            "detector",
            {
                *(
                    "auroc",
                    "tpr0",
                    "tpr10",
                    "confusion",
                    "n_lens",
                    "folds",
                    "auroc_err",
                    "purity_top_10",
                    "ece",
                    "ece_err",
                ),
                *("roc_by_threshold", "completeness", "fpr_by_kind", "reliability", "threshold"),
            },
        ),
        ("regressor", {"theta_e", "sigma_v", "z_lens", "z_src"}),
    ],
)
def test_evaluate_measures_a_bundle(chain, tmp_path, task, keys):
    data, out = chain / "simulate", tmp_path / task
    answer = lenspipe("evaluate", chain / "models" / task, "--data", data, "--out", out, "--mc-samples", "3")
    assert answer.returncode == 0, answer.stderr
    metrics = json.loads((out / "metrics.json").read_text())
    assert keys <= set(metrics)
    assert metrics["seen"]
    assert "WARNING: The model was trained on this set" in answer.stdout
    assert (out / "report.html").exists()


@pytest.mark.slow
def test_predict_writes_scores_and_posteriors(chain, tmp_path):
    bundles, table = (
        [chain / "models" / task for task in ("detector", "regressor")],
        tmp_path / "predictions.parquet",
    )
    answer = lenspipe("predict", *bundles, "--data", chain / "simulate", "--out", table, "--mc-samples", "3")
    assert answer.returncode == 0, answer.stderr
    predictions = read_table(table)
    assert len(predictions) == 48
    assert {"score", "score_fold_1", "p_lens", "theta_e", "theta_e_err_lo", "z_src_epistemic"} <= set(
        predictions.colnames
    )


@pytest.mark.slow
def test_plan_and_report_on_a_run(chain, tmp_path):
    answer = lenspipe("plan", chain.parent / "recipe.toml", "--out", chain)
    assert answer.returncode == 0
    assert "train" in answer.stdout
    copy = shutil.copytree(chain, tmp_path / "copy")
    page = copy / "report/index.html"
    page.unlink()
    assert lenspipe("report", copy).returncode == 0
    assert len(page.read_text()) == pytest.approx(len((chain / "report/index.html").read_text()), rel=0.05)


def test_realism_without_images_is_the_user_s_mistake(tmp_path):
    answer = lenspipe("realism", tmp_path / "nothing.fits", "--survey", "des")
    assert answer.returncode == 2
    assert "nothing.fits" in answer.stderr


def test_cuts_that_no_lens_passes_are_the_user_s_mistake(tmp_path):
    answer = lenspipe("simulate", "--count", "4", "--out", tmp_path / "set", "--set", "simulate.min_snr=1e6")
    assert answer.returncode == 2
    assert "S/N" in answer.stderr
    assert len(answer.stderr.strip().splitlines()) <= 3
