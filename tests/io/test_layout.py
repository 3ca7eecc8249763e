from __future__ import annotations

import pytest

from lenspipe.core.errors import InputError
from lenspipe.core.survey import Survey, load_survey
from lenspipe.io.layout import find_images, group_files, name_duplicates, parse_name

DES = load_survey("des")


@pytest.mark.parametrize(
    ("name", "tile", "band", "role"),
    [
        ("DESJ033056.9318-522813.0188_g_wht.fits", "DESJ033056.9318-522813.0188", "g", "weight"),
        ("DES0325-5206_i.fits.fz", "DES0325-5206", "i", ""),
        ("CFHTLS-test_r.fits", "CFHTLS-test", "r", ""),
        ("c4d_171113_060340_ooi_r_ls9.N6.fits", "c4d_171113_060340_ls9.N6", "r", "image"),
        ("r_field.fits.gz", "field", "r", ""),
        ("galaxy.fits", "galaxy", "", ""),
        ("tile_y.fits", "tile_y", "", ""),  # DES's reddest band is Y
    ],
)
def test_names_tell_tile_band_and_role(name, tile, band, role):
    found, file = parse_name(f"/data/{name}", DES)
    assert (found, file.band, file.role) == (tile, band, role)


@pytest.mark.parametrize(
    ("survey", "name", "tile", "band", "role"),
    [
        ("des", "DES0325-5206_r4969p01_g.fits.fz", "DES0325-5206_r4969p01", "g", ""),
        ("des", "DES0325-5206_r4969p01_Y_psfcat.psf", "DES0325-5206_r4969p01", "Y", "psf_model"),
        ("des", "DES0017-3832_r4907p01_r_nobkg.fits.fz", "DES0017-3832_r4907p01_nobkg", "r", ""),
        ("lsst", "deep_coadd_5063_14_i_lsst_cells_v1_runs.fits", "5063_14", "i", ""),
        ("lsst", "deepCoadd_calexp_2877_19_r_DC2_u_run.fits", "2877_19", "r", ""),
        ("hsc", "calexp-HSC-I-9813-4,4.fits", "9813-4,4", "i", ""),
        ("hsc", "calexp-HSC-R2-9813-4,4.fits", "9813-4,4", "r", ""),
        ("kids", "KiDS_DR4.0_181.5_-2.5_i_sci.fits", "181.5_-2.5", "i", "image"),
        ("kids", "KiDS_DR4.0_181.5_-2.5_i_wei.fits.fz", "181.5_-2.5", "i", "weight"),
        ("kids", "KiDS_DR5.0_181.5_-2.5_g_msk.fits", "181.5_-2.5", "g", "mask"),
        ("legacy", "legacysurvey-0350m100-image-g.fits.fz", "0350m100", "g", "image"),
        ("legacy", "legacysurvey-0350m100-psfsize-z.fits.fz", "0350m100", "z", "psf_size"),
        ("legacy", "legacysurvey-0350m100-maskbits.fits.fz", "0350m100", "", "mask"),
        ("cfhtls", "CFHTLS_W_g_021800-050800_T0007_MEDIAN.fits", "021800-050800", "g", ""),
        ("cfhtls", "CFHTLS_W_u_021800-050800_T0007_MEDIAN_weight.fits", "021800-050800", "u", "weight"),
        ("cfhtls", "G002.003.844+33.133.I2.weight.fits.fz", "G002.003.844+33.133", "i", "weight"),
        ("euclid", "EUC_MER_BGSUB-MOSAIC-VIS_TILE102-ACB_2024T14.2Z_00.00.fits", "102", "VIS", ""),
        ("euclid", "EUC_MER_MOSAIC-VIS-RMS_TILE102-BB8_2024T16.1Z_00.00.fits", "102", "VIS", "rms"),
        ("euclid", "EUC_MER_MOSAIC-NIR-H-FLAG_TILE102-BB8_2024T16.1Z_00.00.fits.gz", "102", "NISP_H", "mask"),
        ("decam", "k4m_160319_075112_oow_zd_ls9.CCD3.fits", "k4m_160319_075112_ls9.CCD3", "z", "weight"),
    ],
)
def test_files_of_the_surveys(survey, name, tile, band, role):
    found, file = parse_name(f"/data/{name}", load_survey(survey))
    assert (found, file.band, file.role) == (tile, band, role)


def test_models_and_depth_maps_beside_the_images_are_left_out():
    names = [
        f"legacysurvey-0350m100-{kind}-g.fits.fz" for kind in ("image", "invvar", "model", "depth", "nexp")
    ]
    (brick,) = group_files([f"/d/{name}" for name in names], load_survey("legacy"))
    assert [file.role for file in brick.files] == ["image", "weight"]


def test_patterns_of_the_survey_come_first():
    layout = {"pattern": ["calexp-{band}-{tile}.fits", "{role}-{band}-{tile}.fits"]}
    survey = Survey.model_validate({**DES.model_dump(), "layout": layout})
    assert parse_name("calexp-i-8523_g.fits", survey)[0] == "8523_g"
    name, file = parse_name("WHT-g-8523.fits", survey)
    assert (name, file.band, file.role) == ("8523", "g", "weight")


def test_files_of_a_tile_are_one_set_and_folders_keep_tiles_apart():
    paths = ["a/T1_g.fits", "a/T1_r.fits", "b/T1_g.fits", "a/T2_g.fits"]
    sets = group_files(paths, DES)
    assert [len(image_set.files) for image_set in sets] == [2, 1, 1]
    assert len({image_set.name for image_set in sets}) == 3
    assert group_files(reversed(paths), DES) == sets


def test_a_file_counts_once_however_its_path_is_spelt(tmp_path, monkeypatch):
    folder = tmp_path / "in"
    folder.mkdir()
    for band in "gr":
        (folder / f"T1_{band}.fits").touch()
    (tmp_path / "linked").symlink_to(folder)
    (tmp_path / "more").mkdir()
    for band in "gr":
        (tmp_path / f"more/T1_{band}.fits").symlink_to(folder / f"T1_{band}.fits")
    monkeypatch.chdir(tmp_path)
    (one,) = group_files(find_images(["in"]), DES)
    assert [file.path for file in one.files] == ["in/T1_g.fits", "in/T1_r.fits"]  # as they were spelt
    for others in ([str(folder)], ["in/../in"], ["linked"], ["more"], ["in/T1_g.fits", "more"]):
        for inputs in (["in", *others], [*others, "in"]):
            (again,) = group_files(find_images(inputs), DES)
            assert (again.name, len(again.files), again.duplicates) == ("T1", 2, ())
    (tmp_path / "more/T1_i.fits").touch()  # with a band of its own it is another tile
    assert len(group_files(find_images(["in", "more"]), DES)) == 2


def test_one_mask_may_be_linked_as_that_of_several_bands(tmp_path):
    (tmp_path / "mask.fits").touch()
    paths = [tmp_path / f"T1_{band}_msk.fits" for band in "gr"]
    for path in paths:
        path.symlink_to(tmp_path / "mask.fits")
    (one,) = group_files(map(str, paths), DES)
    assert [(file.band, file.role) for file in one.files] == [("g", "mask"), ("r", "mask")]


def test_of_a_file_in_several_forms_the_plain_one_is_read_and_the_others_are_named():
    paths = [f"a/T1_g{suffix}" for suffix in (".fits.gz", ".fits.fz", ".fits")]
    paths += ["a/T1_g_wht.fits.gz", "a/T1_r.fits.gz", "a/T1_r.fits.fz", "a/T1_g_psf.psf", "a/T1_g_psf.fits"]
    (one,) = group_files(paths, DES)
    chosen = ["T1_g.fits", "T1_g_psf.fits", "T1_g_psf.psf", "T1_g_wht.fits.gz", "T1_r.fits.fz"]
    assert [file.path for file in one.files] == [f"a/{name}" for name in chosen]
    assert one.duplicates == ("a/T1_g.fits.fz", "a/T1_g.fits.gz", "a/T1_r.fits.gz")
    assert {row.path for row in name_duplicates(one)} == set(one.duplicates)
    assert {(row.unit, row.reason) for row in name_duplicates(one)} == {("T1", "duplicate_file")}


def test_inputs_are_files_folders_and_patterns(tmp_path):
    for name in ("x_g.fits", "x_r.fits.fz", "notes.txt", "sub dir/ü_g.fits"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert len(find_images([str(tmp_path)])) == 3
    assert find_images([str(tmp_path / "*_g.fits"), str(tmp_path / "x_g.fits")]) == [
        str(tmp_path / "x_g.fits")
    ]
    missing = str(tmp_path / "gone.fits")
    assert find_images([str(tmp_path / "x_g.fits"), missing])[-1] == missing  # kept, to be quarantined


def test_tables_beside_the_images_are_no_input_unless_they_are_named(tmp_path):
    for name in ("x_g.fits", "stack.h5", "targets.csv"):
        (tmp_path / name).touch()
    assert [path[-5:] for path in find_images([str(tmp_path)])] == ["ck.h5", ".fits"]
    assert len(find_images([str(tmp_path / "*")])) == 2
    assert len(find_images([str(tmp_path / "targets.csv")])) == 1


def test_inputs_that_name_nothing_are_the_user_s_mistake(tmp_path):
    (tmp_path / "empty").mkdir()
    for item in (tmp_path / "gone.fits", tmp_path / "empty", tmp_path / "*.fits"):
        with pytest.raises(InputError, match=r"no such file|no FITS files|no file matches"):
            find_images([str(item)])
