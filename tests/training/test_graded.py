import numpy as np
import pytest
from astropy.table import Table
from support import lenspipe

from lenspipe.core.errors import InputError
from lenspipe.imaging.astrometry import sky_cells
from lenspipe.io.cards import read_card
from lenspipe.io.shards import Shard, write_shard
from lenspipe.io.tables import read_table, write_table
from lenspipe.training.graded import find_graded, read_graded, read_grades

BANDS = ("g", "r", "i")


def make_run(folder, keep=True, tiles=2, per_tile=6, size=32, seed=0):
    """Write the stamps of a run: object k of tile t is all t + k / 10; the last object of a tile has no stamp."""
    rng = np.random.default_rng(seed)
    place = folder / ("ingest" if keep else "find")
    place.mkdir(parents=True, exist_ok=True)
    for t in range(tiles):
        n = per_tile if keep else per_tile - 1
        image = (t + np.arange(n) / 10)[:, None, None, None] * np.ones((1, size, size, 3))
        noise, fwhm = np.ones((n, 3)), np.tile([1.1, 1.0, 0.9], (n, 1))
        shard = Shard(
            image.astype("f4"), noise, BANDS, 0.263, "des", 0, psf_fwhm=fwhm, electrons_per_njy=noise
        )
        write_shard(place / f"T{t}.h5", shard)
        stamp = np.arange(per_tile)
        if not keep:
            stamp[-1] = -1
        objects = Table(
            {
                "object_id": [f"T{t}-{k:05d}" for k in range(per_tile)],
                "tile": np.full(per_tile, f"T{t}"),
                "ra": 30 + rng.uniform(0, 0.2, per_tile),
                "dec": -30 + rng.uniform(0, 0.2, per_tile),
                "stamp": stamp,
            }
        )
        write_table(objects, place / f"T{t}{'.parquet' if keep else '.objects.parquet'}")
    return folder


def write_grades(path, **columns):
    write_table(Table(columns), path)
    return path


@pytest.mark.parametrize("keep", [True, False])
def test_graded_objects_come_with_their_own_stamps(tmp_path, keep):
    run = make_run(tmp_path / "run", keep)
    table = write_grades(
        run / "grades.ecsv", object_id=["T1-00003", "T0-00001", "T1-00000"], grade=["A", "x", "C"]
    )
    found = find_graded(table)
    assert found.lost == ()
    stamps, truth = read_graded(found, 5.0)
    assert (stamps.bands, stamps.pixel_scale, stamps.survey, stamps.mask) == (BANDS, 0.263, "des", None)
    by_name = {row["object_id"]: (row["kind"], stamps.image[k, 0, 0, 0]) for k, row in enumerate(truth)}
    assert by_name == {
        "T1-00003": ("graded_lens", np.float32(1.3)),
        "T0-00001": ("graded_nonlens", np.float32(0.1)),
        "T1-00000": ("graded_nonlens", np.float32(1.0)),
    }
    np.testing.assert_array_equal(truth["group"], -1 - sky_cells(truth["ra"], truth["dec"]))
    np.testing.assert_array_equal(truth["weight"], 5.0)
    np.testing.assert_allclose(truth["psf_fwhm_i"], 0.9, rtol=1e-6)
    assert len(np.unique(truth["sample_id"])) == 3
    assert stamps.noise_sigma.shape == (3, 3)


def test_objects_whose_stamps_are_gone_are_named(tmp_path):
    run = make_run(tmp_path / "run", keep=False)
    names = ["T0-00000", "T0-00005", "elsewhere"]  # the second was scored, but its stamp not kept
    found = find_graded(write_grades(tmp_path / "g.ecsv", object_id=names), run)
    assert found.lost == ("T0-00005", "elsewhere")
    assert list(found.rows["object_id"]) == ["T0-00000"]
    assert not found.rows["lens"].any()  # without grades nothing is a lens
    with pytest.raises(InputError, match=r"stamps of none of its 1 objects .* elsewhere; name the run"):
        find_graded(write_grades(tmp_path / "none.ecsv", object_id=["elsewhere"]), run)
    with pytest.raises(InputError, match=r"holds no stamps of a run .*--run RUN_DIR"):
        find_graded(tmp_path / "g.ecsv")


def test_candidates_may_be_given_by_name_or_with_their_tile(tmp_path):
    run = make_run(tmp_path / "run")
    known = {"name": ["LP J1", "LP J2"], "object_id": ["T0-00002", "T1-00002"], "tile": ["T0", "T1"]}
    write_table(Table(known), run / "candidates.parquet")
    found = find_graded(write_grades(run / "g.ecsv", name=["LP J2", "LP J9"], grade=["b", "C"]))
    assert list(found.rows["object_id"]) == ["T1-00002"]
    assert found.rows["lens"].all()
    assert found.lost == ("LP J9",)
    found = find_graded(write_grades(run / "t.ecsv", object_id=["T0-00002"] * 2, tile=["T0", "T1"]))
    assert list(found.rows["tile"]) == ["T0"]
    assert found.lost == ("T0-00002",)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"object_id": ["a", "b"], "grade": ["A", "D"]}, r"A or B .*C or X .*b has 'D'"),
        ({"object_id": ["a", "b"], "grade": ["A", ""]}, r"b has ''"),
        ({"object_id": ["a", "a"], "grade": ["A", "C"]}, "a is graded as a lens and as none"),
        ({"object_id": ["a", " "]}, "row 2 has no object_id"),
        ({"identifier": ["a"]}, "must have a column object_id or name; it has identifier"),
        ({"object_id": np.zeros(0, "U1")}, "has no rows"),
    ],
)
def test_grades_that_cannot_be_used_are_refused(tmp_path, columns, message):
    with pytest.raises(InputError, match=message):
        read_grades(write_grades(tmp_path / "g.ecsv", **columns))


def test_an_object_named_twice_counts_once(tmp_path):
    run = make_run(tmp_path / "run")
    found = find_graded(write_grades(run / "g.ecsv", object_id=["T0-00001", "T0-00001"], grade=["C", "X"]))
    assert len(found.rows) == 1


def test_checking_a_table_needs_no_keras(tmp_path):
    import subprocess
    import sys

    code = "import sys, lenspipe.training.graded; assert 'keras' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_training_with_negatives_learns_from_the_graded_and_names_the_lost(tmp_path, new_set):
    run, data = make_run(tmp_path / "run", keep=False), new_set(tmp_path / "set", n=60)
    names = ["T0-00000", "T0-00001", "T1-00002", "T1-00003", "T1-00005"]  # the last one's stamp was not kept
    table = write_grades(run / "grades.ecsv", object_id=names, grade=["A", "C", "X", "B", "C"])
    words = (
        "--data",
        data,
        "--negatives",
        table,
        "--out",
        tmp_path / "model",
        "--folds",
        "2",
        "--epochs",
        "1",
    )
    answer = lenspipe(
        "train", "detector", *words, "--architecture", "swift", "--set", "train.detector.batch_size=16"
    )
    assert answer.returncode == 0, answer.stderr
    oof = read_table(tmp_path / "model/oof.parquet")
    graded = np.asarray(oof["set"]) == 1
    assert graded.sum() == 4
    assert sorted(oof["label"][graded]) == [0, 0, 1, 1]
    np.testing.assert_array_equal(oof["weight"], np.where(graded, 5.0, 1.0))
    card = read_card(tmp_path / "model", "detector")
    assert card["training"]["graded"] == {"graded_lens": 2, "graded_nonlens": 2}
    lost = Table.read(tmp_path / "model/quarantine.ecsv")
    assert list(lost["object"]) == ["T1-00005"]
