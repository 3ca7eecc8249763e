"""From mock tiles to the catalog and its page: once, again, in other orders, and killed on the way."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from rich.console import Console
from support import command, environment, lenspipe

from lenspipe.config import load_config
from lenspipe.io.shards import read_shard
from lenspipe.io.store import Store
from lenspipe.io.tables import read_table
from lenspipe.pipeline import runner
from lenspipe.pipeline.executor import Serial
from lenspipe.pipeline.journal import Journal

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

FORMATS = ("fits", "ecsv", "vot", "parquet")
AFTER_TRAINING = ("ingest", "find", "model", "catalog", "slip", "report")


def copy_without(chain: Path, target: Path, stages) -> Path:
    """Return a copy of the run in which some stages were never done."""
    shutil.copytree(chain.parent, target, ignore=shutil.ignore_patterns("lock", "made"))
    run = target / "run"
    for stage in stages:
        shutil.rmtree(run / ".lenspipe" / "done" / stage, ignore_errors=True)
        shutil.rmtree(run / ".lenspipe" / "done" / f"{stage}.gather", ignore_errors=True)
        shutil.rmtree(run / stage, ignore_errors=True)
    for path in run.glob("candidates.*"):
        path.unlink()
    (run / "scores.parquet").unlink()
    return run


def catalogs(run: Path) -> dict[str, bytes]:
    return {name: (run / f"candidates.{name}").read_bytes() for name in FORMATS}


def test_a_run_leaves_what_the_contract_says(chain):
    for name in (
        "run.json",
        "config.toml",
        "log.jsonl",
        "quarantine.ecsv",
        "scores.parquet",
        "report/index.html",
        "slip/slip.json",
        "models/detector/bundle.json",
        "models/regressor/bundle.json",
        "simulate/truth.parquet",
        "tiles/truth.parquet",
    ):
        assert (chain / name).is_file(), name
    record = json.loads((chain / "run.json").read_text())
    assert record["status"] == "done"
    assert [stage["name"] for stage in record["stages"]] == [
        "simulate",
        "ingest",
        "train",
        "find",
        "model",
        "catalog",
        "slip",
        "report",
    ]
    counts = {stage["name"]: stage["counts"] for stage in record["stages"]}
    scores = read_table(chain / "scores.parquet")
    assert (
        counts["ingest"]["objects"]
        == counts["find"]["scored"]
        == counts["catalog"]["objects"]
        == len(scores)
        > 5
    )
    tables = [read_table(chain / f"candidates.{name}") for name in FORMATS]
    for table in tables:
        assert table.colnames == tables[0].colnames == scores.colnames
        assert len(table) == counts["catalog"]["candidates"]
        assert np.array_equal(table["score"], tables[0]["score"])
        assert list(table["name"]) == list(tables[0]["name"])
    assert np.all(np.diff(tables[0]["score"]) <= 0)
    assert np.isfinite(tables[0]["theta_e"]).all()
    assert np.all(tables[0]["theta_e_lo95"] < tables[0]["theta_e_hi95"])
    assert np.array_equal(tables[0]["novelty"] > 1, (np.asarray(tables[0]["flags"]) & 4096) > 0)
    assert np.all(tables[0]["novelty"] > 0)
    assert set(tables[0]["run_id"]) == {record["run_id"]}
    slip = json.loads((chain / "slip/slip.json").read_text())
    assert {
        "model",
        "gamma",
        "gamma_err_lo",
        "gamma_err_hi",
        "n_lenses",
        "n_used",
        "realizations",
        "chi2_per_n",
        "circular",
        "warnings",
    } <= set(slip)
    assert not slip["circular"]
    assert "trained briefly" in (chain / "report/index.html").read_text()


def test_candidates_of_a_run_are_refined_afterwards(chain, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(chain.parent, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("lock", "made"))
    before = read_table(run / "candidates.fits")
    third = f"catalog.threshold={float(before['score'][2])!r}"
    answer = lenspipe("model", run, "--refine", "--set", third)
    assert answer.returncode == 0, answer.stderr
    after = read_table(run / "candidates.fits")
    assert list(after["name"]) == list(before["name"][: len(after)])
    assert len(after) >= 3
    assert np.isfinite(after["fit_theta_e"]).all()
    assert np.all(after["fit_theta_e_err"] > 0)
    flags = np.asarray(after["flags"])
    poor = ~(np.asarray(after["fit_chi2"]) < 2)
    assert np.all((flags[poor] & 8192) > 0)
    scores = read_table(run / "scores.parquet")
    assert np.isnan(scores["fit_theta_e"][np.asarray(scores["score"]) < after["score"].min()]).all()
    residuals = [read_shard(path) for path in (run / "model").glob("*.residual.h5")]
    modelled = np.isfinite(scores["fit_theta_e"]).sum()
    assert sum(len(shard.image) for shard in residuals) == modelled
    assert lenspipe("model", tmp_path).returncode == 2


def test_grades_come_into_the_catalog_and_the_page(chain, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(chain.parent, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("lock", "made"))
    before = read_table(run / "candidates.ecsv")
    first, second = (str(before["object_id"][k]) for k in (0, 1))
    (tmp_path / "ada.csv").write_text(f"object_id,grade\n{first},A\n{second},X\n")
    (tmp_path / "bo.csv").write_text(f"object_id,grade\n{first},B\n{second},X\n")
    answer = lenspipe("grades", "merge", tmp_path / "ada.csv", tmp_path / "bo.csv", "--into", run)
    assert answer.returncode == 0, answer.stderr
    assert "2 objects graded by 2" in answer.stdout
    for name in FORMATS:
        after = read_table(run / f"candidates.{name}")
        assert list(after["name"]) == list(before["name"])
        assert [str(grade) for grade in after["grade"][:3]] == ["A", "X", ""]
        assert after["grade_mean"][:2] == pytest.approx([2.5, 0.0])
        assert np.isnan(after["grade_mean"][2])
        assert after["n_grades"][:3].tolist() == [2, 2, 0]
    page = (run / "report/index.html").read_text()
    assert "grade A" in page
    assert "2.5 of 3, 2 graded it" in page
    again = lenspipe("grades", "merge", tmp_path / "ada.csv", "--into", tmp_path)
    assert again.returncode == 2
    assert "is no run" in again.stderr


def test_candidates_are_drawn_for_a_paper(chain, tmp_path):
    answer = lenspipe("figure", "mosaic", chain, "--top", "3", "--rings", "--out", tmp_path / "three.svg")
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip().endswith("3 candidates")
    drawn = (tmp_path / "three.svg").read_text()
    names = [str(name) for name in read_table(chain / "candidates.fits")["name"]]
    assert [name in drawn for name in names[:4]] == [True, True, True, False]
    for folder, out, message in (
        (tmp_path, "a.pdf", "is no run"), (chain, "a.doc", "must end in .pdf, .png, .svg"),
    ):  # fmt: skip
        answer = lenspipe("figure", "mosaic", folder, "--out", tmp_path / out)
        assert answer.returncode == 2
        assert message in answer.stderr


def test_an_object_seen_in_both_tiles_is_one_candidate(chain):
    scores, candidates = read_table(chain / "scores.parquet"), read_table(chain / "candidates.ecsv")
    duplicates = scores[(np.asarray(scores["flags"]) & 1024) > 0]
    assert len(duplicates) >= 1  # the tiles overlap
    assert len(candidates) == len(scores) - len(duplicates)
    assert not set(duplicates["object_id"]) & set(candidates["object_id"])


def test_injected_lenses_are_among_the_scored_objects(chain):
    truth, scores = read_table(chain / "tiles/truth.parquet"), read_table(chain / "scores.parquet")
    lenses = truth[truth["kind"] == "lens"]
    found = 0
    for lens in lenses:
        away = np.hypot(
            (scores["ra"] - lens["ra"]) * np.cos(np.radians(lens["dec"])), scores["dec"] - lens["dec"]
        )
        found += away.min() * 3600 < 1.5
    assert found >= 0.6 * len(lenses)


def test_the_same_command_again_does_nothing(chain):
    before = {path: path.stat().st_mtime_ns for path in chain.rglob("*.h5")} | catalogs(chain)
    answer = lenspipe("run", chain.parent / "recipe.toml", "--out", chain)
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr.count("done before") == 8
    assert {path: path.stat().st_mtime_ns for path in chain.rglob("*.h5")} | catalogs(chain) == before


def test_without_keeping_stamps_the_scores_are_the_same(chain, tmp_path):
    run = copy_without(chain, tmp_path / "streamed", AFTER_TRAINING)
    scores = read_table(chain / "scores.parquet")
    threshold = float(np.sort(np.asarray(scores["score"]))[-3])  # so that few stamps are stored
    words = ("--set", "ingest.keep=false", "--set", f"catalog.threshold={threshold!r}")
    answer = lenspipe("run", run.parent / "recipe.toml", "--out", run, *words)
    assert answer.returncode == 0, answer.stderr
    streamed = read_table(run / "scores.parquet")
    for name in ("object_id", "score", "p_lens", "x", "mag_i"):
        assert np.array_equal(streamed[name], scores[name]), name
    assert not list((run / "ingest").glob("*")), "stamps were stored after all"
    stored = sum(len(read_shard(path).image) for path in (run / "find").glob("*.h5"))
    assert 0 < stored < len(scores)
    top, all_ = read_table(run / "candidates.ecsv"), read_table(chain / "candidates.ecsv")
    assert np.array_equal(top["theta_e"], all_["theta_e"][: len(top)])
    assert (run / "report/index.html").is_file()


def test_serial_in_reversed_order_gives_what_dask_gave(chain, tmp_path):
    run = copy_without(chain, tmp_path / "reversed", AFTER_TRAINING)
    with (tmp_path / "screen").open("w") as screen:
        journal = Journal(run / "log.jsonl", Console(file=screen))
        config = load_config(chain.parent / "recipe.toml")
        status = runner.run(config, Store(run), Serial(lambda jobs: jobs[::-1]), journal)
    assert status == 0
    assert catalogs(run) == catalogs(chain)


def test_killed_while_training_it_resumes_to_the_same_catalog(chain, tmp_path):
    run = copy_without(chain, tmp_path / "killed", AFTER_TRAINING)
    shutil.rmtree(run / ".lenspipe/done/train.gather")
    (run / ".lenspipe/done/train/regressor-fold-1.json").unlink()
    for path in (run / "models/regressor").glob("fold-1*"):
        path.unlink()
    words = command("run", tmp_path / "killed/recipe.toml", "--out", run)
    progress = run / "models/regressor/fold-1.progress.jsonl"
    process = subprocess.Popen(words, env=environment(), stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 200
    while not progress.exists() or '"epoch"' not in progress.read_text():  # one of two epochs is over
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (run / ".lenspipe/done/train/regressor-fold-1.json").exists()
    answer = lenspipe("run", tmp_path / "killed/recipe.toml", "--out", run)
    assert answer.returncode == 0, answer.stderr
    assert "3 done before" in answer.stderr
    assert catalogs(run) == catalogs(chain)


def test_bad_tiles_are_named_and_the_good_one_is_scored_the_same(chain, tmp_path):
    run = copy_without(chain, tmp_path / "bad", AFTER_TRAINING)
    good = read_table(chain / "scores.parquet")
    tiles = run / "tiles"
    content = (tiles / "mock001_r.fits").read_bytes()
    (tiles / "mock001_r.fits").write_bytes(content[: len(content) // 2])
    shutil.copy(tiles / "mock000_g.fits", tiles / "lonely_g.fits")
    (tiles / "text_i.fits").write_text("not a FITS file")
    answer = lenspipe(
        "scan",
        tiles,
        "--survey",
        "des",
        "--out",
        tmp_path / "scan",
        "--threshold",
        "0",
        "--detector",
        run / "models/detector",
        "--set",
        "find.mc_samples=4",
        "--set",
        "find.batch_size=16",
    )
    assert answer.returncode == 0, answer.stderr
    assert "Traceback" not in answer.stderr
    quarantine = read_table(tmp_path / "scan/quarantine.ecsv")
    reasons = {Path(row["path"]).name: row["reason"] for row in quarantine if not row["object"]}
    assert reasons == {
        "mock001_r.fits": "fits_truncated",
        "lonely_g.fits": "missing_band:r",
        "text_i.fits": "not_fits",
    }
    scored = read_table(tmp_path / "scan/scores.parquet")
    expected = good[good["tile"] == "mock000"]
    assert list(scored["object_id"]) == list(expected["object_id"])
    assert np.array_equal(scored["score"], expected["score"])


def test_a_tile_that_turns_bad_leaves_the_catalog(chain, tmp_path):
    run = copy_without(chain, tmp_path / "turned", ())
    words = (
        *("scan", run / "tiles", "--survey", "des", "--out", tmp_path / "scan", "--threshold", "0"),
        *("--detector", run / "models/detector", "--set", "find.mc_samples=4"),
    )
    assert lenspipe(*words).returncode == 0
    assert set(read_table(tmp_path / "scan/scores.parquet")["tile"]) == {"mock000", "mock001"}
    path = run / "tiles/mock001_r.fits"
    path.write_bytes(path.read_bytes()[:20000])
    answer = lenspipe(*words)
    assert answer.returncode == 0, answer.stderr
    assert set(read_table(tmp_path / "scan/scores.parquet")["tile"]) == {"mock000"}
    assert "mock001" in set(read_table(tmp_path / "scan/quarantine.ecsv")["unit"])


MASKED = """
survey = "des"
[simulate]
count = 48
size = 48
shard_size = 24
realism = { masked = 0.5 }
tiles = { count = 1, size = 300, lenses = 3 }
[train.detector]
folds = 2
epochs = 2
batch_size = 16
architecture = "swift"
channels = ["noise", "mask"]
[train.regressor]
folds = 2
epochs = 1
batch_size = 8
channels = ["mask"]
[find]
mc_samples = 4
[model]
mc_samples = 8
[catalog]
threshold = 0.0
"""


def test_networks_that_see_masks_see_those_of_the_images_kept_or_not(tmp_path):
    recipe, run = tmp_path / "recipe.toml", tmp_path / "run"
    recipe.write_text(MASKED)
    answer = lenspipe("run", recipe, "--out", run)
    assert answer.returncode == 0, answer.stderr
    models = run / "models/detector", run / "models/regressor"
    words = ("--survey", "des", "--threshold", "0", "--detector", models[0], "--regressor", models[1])
    words = (*words, "--set", "find.mc_samples=4", "--set", "model.mc_samples=8")
    for name in ("--keep", "--no-keep"):
        answer = lenspipe("scan", run / "tiles", "--out", tmp_path / name, name, *words)
        assert answer.returncode == 0, answer.stderr
    tables = [
        read_table(folder / "scores.parquet") for folder in (run, tmp_path / "--keep", tmp_path / "--no-keep")
    ]
    assert len(tables[0]) > 3
    for table in tables[1:]:
        for name in ("object_id", "score", "score_err", "theta_e", "theta_e_err_lo"):
            assert np.array_equal(table[name], tables[0][name]), name

    # they are the scores of the stamps with their masks, and would be others without
    from lenspipe.training.bundle import load_bundle
    from lenspipe.training.scores import score_stamps

    (path,) = (run / "ingest").glob("*.h5")
    shard, objects = read_shard(path, masks=True), read_table(path.with_suffix(".parquet"))
    seen, blind = (
        score_stamps(load_bundle(models[0]), shard.image, shard.noise_sigma, 4, seed=1, mask=mask).score
        for mask in (shard.mask, np.zeros_like(shard.mask))
    )
    spoilt = shard.mask.any(axis=(1, 2, 3))
    assert spoilt.any()
    assert np.all(seen[spoilt] != blind[spoilt])
    scores = dict(zip(tables[0]["object_id"], tables[0]["score"], strict=True))
    found = [scores[name] for name in objects["object_id"]]
    np.testing.assert_allclose(found, seen, rtol=1e-5)

    for bundle in models:
        answer = lenspipe("evaluate", bundle, "--data", run / "simulate", "--out", tmp_path / bundle.name)
        assert answer.returncode == 0, answer.stderr
    answer = lenspipe("predict", *models, "--data", run / "simulate", "--out", tmp_path / "p.parquet")
    assert answer.returncode == 0, answer.stderr
    old = tmp_path / "old"
    shutil.copytree(run / "simulate", old)
    for shard_path in old.glob("*.h5"):
        with h5py.File(shard_path, "a") as file:
            del file["pixel_mask"]
    for words in (
        ("predict", *models, "--out", tmp_path / "q.parquet"),
        ("evaluate", models[0], "--out", old / "e"),
    ):
        answer = lenspipe(*words, "--data", old)
        assert answer.returncode == 2
        assert "shard-00000.h5 has no pixel_mask" in answer.stderr
