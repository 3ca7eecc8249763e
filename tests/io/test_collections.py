"""Collections of cutouts: which files, bands and objects a table or a FITS stack names."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from lenspipe.core.errors import InputError
from lenspipe.core.survey import load_survey
from lenspipe.io.collections import AT_ONCE, holds_members, read_members, read_paths
from lenspipe.io.layout import group_files
from lenspipe.io.planes import list_planes

DES = load_survey("des")
PIXELS = np.random.default_rng(1).normal(size=(3, 4, 12, 15)).astype(np.float32)  # band, object
BANDS = ("g", "r", "i")


def read(path):
    """Return the members of a FITS stack: name to flux by band, or the reason."""
    (one,) = group_files([str(p) for p in path] if isinstance(path, list) else [str(path)], DES)
    planes = [] if holds_members(one) else list_planes(one, DES)
    return {
        member.name: str(member.fault) if member.fault else {b: m.read() for b, m in member.bands.items()}
        for member in read_members(one, planes, DES, BANDS)
    }


def check(members, names):
    assert list(members) == list(names)
    for k, bands in enumerate(members.values()):
        for b, band in enumerate(BANDS):
            assert np.array_equal(bands[band].data, PIXELS[b, k])


def test_an_hdu_an_object_and_band_by_extname(tmp_path):
    hdus = [fits.PrimaryHDU()]
    for k in range(4):
        for b, band in enumerate(BANDS):
            hdus.append(fits.ImageHDU(PIXELS[b, k], name=f"J03{k}-52_{band}"))
            hdus.append(fits.ImageHDU(np.full((12, 15), k + 1.0), name=f"WGT_J03{k}-52_{band}"))
    fits.HDUList(hdus).writeto(tmp_path / "stack.fits")
    members = read(tmp_path / "stack.fits")
    check(members, [f"J03{k}-52" for k in range(4)])
    assert (members["J032-52"]["r"].noise == 3.0).all()


def test_an_hdu_an_object_by_keywords(tmp_path):
    hdus = [fits.PrimaryHDU()]
    for k in range(4):
        for b, band in enumerate(BANDS):
            cards = fits.Header({"OBJECT": f"obj {k}", "BAND": band})
            hdus.append(fits.ImageHDU(PIXELS[b, k], cards, name="SCI"))
    fits.HDUList(hdus).writeto(tmp_path / "stack.fits")
    check(read(tmp_path / "stack.fits"), [f"obj {k}" for k in range(4)])


def test_an_hdu_a_band_with_a_cube_of_objects_and_a_file_a_band(tmp_path):
    hdus = [fits.ImageHDU(PIXELS[b], name=f"SCI_{band}") for b, band in enumerate(BANDS)]
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(tmp_path / "stack.fits")
    names = [f"{k:05d}" for k in range(4)]
    check(read(tmp_path / "stack.fits"), names)
    paths = []
    for b, band in enumerate(BANDS):
        paths += [tmp_path / f"many_{band}.fits", tmp_path / f"many_{band}_wht.fits"]
        fits.writeto(paths[-2], PIXELS[b])
        fits.writeto(paths[-1], np.full_like(PIXELS[b], 2.0))
    members = read(paths)
    check(members, names)
    assert all((part.noise == 2.0).all() for bands in members.values() for part in bands.values())


def test_an_object_that_lacks_a_band_is_named_and_the_others_are_there(tmp_path):
    hdus = [
        fits.ImageHDU(PIXELS[b, k], name=f"{'abcd'[k]}_{band}")
        for k in range(4) for b, band in enumerate(BANDS) if (k, band) != (2, "r")
    ]  # fmt: skip
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(tmp_path / "stack.fits")
    members = read(tmp_path / "stack.fits")
    assert list(members) == ["A", "B", "C", "D"]  # astropy writes names in capitals
    assert "missing_band:r" in members["C"]
    assert isinstance(members["D"], dict)


def test_names_are_as_they_are_written(tmp_path):
    with fits.conf.set_temp("extension_name_case_sensitive", True):
        hdus = [
            fits.ImageHDU(PIXELS[b, k], name=f"gal{k}_{band}")
            for k in range(4)
            for b, band in enumerate(BANDS)
        ]
        fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(tmp_path / "stack.fits")
    check(read(tmp_path / "stack.fits"), [f"gal{k}" for k in range(4)])


def write_cutouts(folder, count=4):
    folder.mkdir()
    for k in range(count):
        hdus = [fits.ImageHDU(PIXELS[b, k % 4], name=f"SCI_{band}") for b, band in enumerate(BANDS)]
        fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(folder / f"o{k}.fits")


def test_a_table_of_paths_with_all_bands_in_a_file(tmp_path):
    write_cutouts(tmp_path / "cut")
    table = Table(
        {"path": [f"cut/o{k}.fits" for k in range(4)], "ra": [1.0, 2.0, np.nan, 4.0], "dec": [0.0] * 4}
    )
    table.write(tmp_path / "list.csv")
    check(read(tmp_path / "list.csv"), [f"o{k}" for k in range(4)])  # paths are relative to the table
    (files,) = read_paths(str(tmp_path / "list.csv"), DES)
    assert [file.ra for file in files] == [1.0, 2.0, None, 4.0]


@pytest.mark.parametrize("suffix", ["csv", "ecsv", "parquet"])
def test_a_table_of_paths_with_a_file_a_band(tmp_path, suffix):
    columns = {"object_id": [f"id {k}" for k in range(4)]}
    for b, band in enumerate(BANDS):
        columns[f"path_{band}"] = [str(tmp_path / f"{k}-{b}.fits") for k in range(4)]
        columns[f"weight_{band}"] = [f"{k}-{b}-w.fits" for k in range(4)]
        for k in range(4):
            fits.writeto(tmp_path / f"{k}-{b}.fits", PIXELS[b, k])
            fits.writeto(tmp_path / f"{k}-{b}-w.fits", np.full((12, 15), 5.0))
    Table(columns).write(tmp_path / f"list.{suffix}")
    members = read(tmp_path / f"list.{suffix}")
    check(members, columns["object_id"])
    assert (members["id 1"]["i"].noise == 5.0).all()


def test_rows_that_name_no_file_or_a_broken_one_stay_in_the_collection(tmp_path):
    write_cutouts(tmp_path / "cut")
    (tmp_path / "cut/o1.fits").write_text("<html>not found</html>")
    rows = ["cut/o0.fits,a", "cut/o1.fits,b", "cut/gone.fits,c", ",d", "cut/o3.fits,a"]
    (tmp_path / "list.csv").write_text("path,id\n" + "\n".join(rows) + "\n")
    members = read(tmp_path / "list.csv")
    assert list(members) == ["a#0", "b", "c", "d", "a#4"]  # one name twice are two objects
    assert [members[name].split(":")[0] for name in "bcd"] == ["not_fits", "missing_file", "missing_file"]


def test_a_long_table_is_several_units(tmp_path):
    rows = [f"{k}.fits" for k in range(AT_ONCE + 3)]
    Table({"path": rows}).write(tmp_path / "list.csv")
    sets = group_files([str(tmp_path / "list.csv")], DES)
    assert [(one.name, len(one.files)) for one in sets] == [("list-00000", AT_ONCE), ("list-00001", 3)]


def test_a_table_without_paths_is_the_user_s_mistake(tmp_path):
    Table({"file": ["a.fits"], "path_q": ["b"]}).write(tmp_path / "list.csv")
    with pytest.raises(InputError, match=r"expected path or path_g, path_r.*it has file, path_q"):
        read_paths(str(tmp_path / "list.csv"), DES)
