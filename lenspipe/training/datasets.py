"""Labelled stamps of a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.table import Table

from lenspipe.core.errors import InputError
from lenspipe.io.files import digest
from lenspipe.io.shards import list_shards, read_shard, shard_name
from lenspipe.io.tables import read_table, require_columns
from lenspipe.networks.assemble import name_inputs, share_margin
from lenspipe.training.folds import join_groups
from lenspipe.training.graded import KINDS
from lenspipe.training.targets import find_target, is_signed, true_values


@dataclass(frozen=True)
class StampSet:
    """Stamps with their truth, all in memory.

    Parameters
    ----------
    image : ndarray (n, y, x, band), float32
        nJy per pixel.
    noise_sigma : ndarray (n, band), float32
        nJy per pixel.
    truth : Table
        The rows of truth.parquet, in the stamps' order.
    bands, pixel_scale, survey
        As in the shards.
    source, data_hash : str
        Folder, and a hash of its truth and shards.
    mask : ndarray (n, y, x, band), uint8, optional
        Not 0 where a pixel could not be used; None where no network looks at it.
    margin : (int, int)
        Pixels before and after the middle of each axis that are not kept in memory, as no network sees them.
    joined : tuple of str
        The hashes of the sets that it was joined from; empty if it is one.
    """

    image: np.ndarray
    noise_sigma: np.ndarray
    truth: Table
    bands: tuple[str, ...]
    pixel_scale: float
    survey: str
    source: str
    data_hash: str
    mask: np.ndarray | None = None
    margin: tuple[int, int] = (0, 0)
    joined: tuple[str, ...] = ()

    @property
    def sets(self) -> tuple[str, ...]:
        """The hashes of the sets that it was joined from, its own where it is one."""
        return self.joined or (self.data_hash,)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """What is kept of the stamps, by the names of networks' inputs."""
        return name_inputs(self.image, self.noise_sigma, self.mask)

    def inputs(self, rows: np.ndarray | slice = slice(None)) -> dict[str, np.ndarray]:
        """Return what networks are given of these rows, by the names of their inputs; 0 where nothing was kept."""
        sides = ((0, 0), self.margin, self.margin, (0, 0))
        return {
            name: np.pad(values[rows], sides) if values.ndim == 4 and any(self.margin) else values[rows]
            for name, values in self.arrays.items()
        }

    @property
    def size(self) -> int:
        """Side of a stamp [px]."""
        return self.image.shape[1] + sum(self.margin)

    def __len__(self) -> int:
        return len(self.image)

    def traits(self) -> Table:
        """Return what a finder's scores are looked at by.

        ``sample_id``, ``kind``, ``group`` and, where the truth has them, ``theta_e`` [arcsec], ``snr`` (of the arcs,
        best band), ``psf_fwhm`` [arcsec, reddest band], ``weight``, and ``set``: which of several sets it is from.
        """
        sources = {"theta_e": "theta_e", "snr": "snr", "psf_fwhm": f"psf_fwhm_{self.bands[-1]}"}
        table = self.truth[
            [name for name in ("sample_id", "kind", "weight", "set") if name in self.truth.colnames]
        ]
        table["group"] = self.groups()
        for name, source in sources.items():
            if source in self.truth.colnames:
                table[name] = np.asarray(self.truth[source], np.float64)
        return table

    def groups(self) -> np.ndarray:
        """Return the k-fold groups (n,) of the truth; where it has ra and dec, one for all stamps of an object."""
        group = np.asarray(self.truth["group"])
        if not {"ra", "dec"} <= set(self.truth.colnames):
            return group
        return join_groups(group, np.asarray(self.truth["ra"]), np.asarray(self.truth["dec"]))

    def labels(self) -> np.ndarray:
        """Return 1 for a lens and 0 for anything else (n,)."""
        return np.isin(np.asarray(self.truth["kind"], str), ("lens", "graded_lens")).astype(np.int64)

    def strata(self) -> np.ndarray:
        """Return the class (n,) whose fractions each fold should keep: lens or not, graded or not."""
        return self.labels() + 2 * np.isin(np.asarray(self.truth["kind"], str), KINDS)

    def count_graded(self) -> dict[str, int]:
        """Return how many stamps of each graded kind there are; empty without any."""
        kinds = np.asarray(self.truth["kind"], str)
        return {kind: int((kinds == kind).sum()) for kind in KINDS if (kinds == kind).any()}

    @property
    def weight(self) -> np.ndarray | None:
        """How much each stamp counts in training (n,), float32: the truth's ``weight``; None = all alike."""
        if "weight" not in self.truth.colnames:
            return None
        weight = np.asarray(self.truth["weight"], np.float32)
        if not (np.isfinite(weight) & (weight > 0)).all():
            raise InputError(f"truth of {self.source}: weights must be finite and above 0")
        return None if np.all(weight == 1) else weight

    def targets(self, names: Sequence[str]) -> np.ndarray:
        """Return the true values (n, targets), physical units; `InputError` if one is unusable."""
        needed = dict.fromkeys(column for name in names for column in find_target(name).columns)
        missing = [column for column in needed if column not in self.truth.colnames]
        if missing:
            raise InputError(
                f"truth of {self.source} has no column {', '.join(missing)}; it cannot train on it"
            )
        values = np.stack([true_values(self.truth, name) for name in names], axis=1)
        signed = np.array([is_signed(name) for name in names])
        bad = ~np.all(np.isfinite(values) & (signed | (values > 0)), axis=1)
        if bad.any():
            sample = self.truth["sample_id"][bad.argmax()]
            found = dict(zip(names, values[bad.argmax()].tolist(), strict=True))
            raise InputError(
                f"truth of {self.source}: sample {sample} has {found}; targets must be finite, and above 0 where they "
                "have no sign"
            )
        return values


def load_stamps(
    folder: str | Path, lenses_only: bool = False, masks: bool = False, crop: int = 0
) -> StampSet:
    """Return the labelled stamps of a simulated set.

    Parameters
    ----------
    folder : path
        A folder with ``shard-*.h5`` and ``truth.parquet``.
    lenses_only : bool
        Leave out what is not a lens (for the regressor).
    masks : bool
        Read the masks too (for networks that look at them).
    crop : int
        Side of the middle that is kept in memory [px], for networks that see no more; 0 = all.

    Raises
    ------
    InputError
        If files are missing, shards differ in bands, pixel scale or stamp size or lack the masks, a stamp is not
        finite or its noise is not above 0; the message names the shard or sample.
    """
    folder = Path(folder)
    shards = list_shards(folder)
    truth_path = folder / "truth.parquet"
    if not truth_path.is_file():
        raise InputError(
            f"no truth.parquet in {folder}: training needs labels; make a set with `lenspipe simulate`"
        )
    truth = read_table(truth_path)
    require_columns(truth, ("sample_id", "kind", "shard", "row", "group"), truth_path)
    truth.sort(["shard", "row"])
    if lenses_only:
        truth = truth[np.asarray(truth["kind"], str) == "lens"]
    if len(truth) == 0:
        raise InputError(
            f"{truth_path} lists no {'lenses' if lenses_only else 'stamps'}; nothing to train on"
        )

    image = noise = mask = first = None
    margin, middle = find_middle(0, 0)
    digests: dict[Path, str] = {}
    start = 0
    for index in np.unique(truth["shard"]):
        path = folder / shard_name(int(index))
        if path not in shards:
            raise InputError(f"{truth_path} names {path.name}, which is not there; make the set again")
        rows = truth[truth["shard"] == index]
        shard = read_shard(path, masks=masks)
        digests[path] = digest(path)  # now, while the system has it in memory
        wanted = np.asarray(rows["row"])
        if wanted.max() >= len(shard.image):
            raise InputError(
                f"{path} holds {len(shard.image)} stamps, but the truth names row {wanted.max()}"
            )
        if image is None:
            first, first_name = shard, path.name
            size, width = shard.image.shape[1:3]
            if size != width:
                raise InputError(f"{folder}: stamps must be square, received {(size, width)} px")
            margin, middle = find_middle(size, crop)
            image = np.empty((len(truth), *shard.image[0, middle, middle].shape), np.float32)
            noise = np.empty((len(truth), len(shard.bands)), np.float32)
            mask = np.empty(image.shape, np.uint8) if masks else None
        assert first is not None
        assert noise is not None
        stamp = (shard.bands, shard.pixel_scale, shard.image.shape[1:])
        expected = (first.bands, first.pixel_scale, first.image.shape[1:])
        if stamp != expected:
            raise InputError(
                f"{path}: bands, pixel scale and stamp are {stamp}, but {expected} in {first_name}"
            )
        stop = start + len(rows)
        image[start:stop], noise[start:stop] = shard.image[wanted, middle, middle], shard.noise_sigma[wanted]
        if mask is not None:
            mask[start:stop] = shard.mask[wanted, middle, middle]
        check_stamps(image[start:stop], noise[start:stop], rows["sample_id"], str(path))
        start = stop
    assert image is not None
    assert noise is not None
    assert first is not None
    hashes = (digests[path] if path in digests else digest(path) for path in shards)
    contents = "".join([digest(truth_path), *hashes])
    return StampSet(
        image,
        noise,
        truth,
        first.bands,
        first.pixel_scale,
        first.survey,
        str(folder),
        hashlib.sha256(contents.encode()).hexdigest()[:16],
        mask,
        margin,
    )


def find_middle(size: int, crop: int) -> tuple[tuple[int, int], slice]:
    """Return the margin around the middle `crop` of `size` pixels, and the middle; all of them if `crop` is 0."""
    before, after = margin = share_margin(size, crop) if 0 < crop < size else (0, 0)
    return margin, slice(before, size - after)


def check_stamps(
    image: np.ndarray, noise_sigma: np.ndarray, names: Sequence | None = None, where: str = ""
) -> None:
    """Refuse stamps that a network would turn into NaN without a word.

    Raises
    ------
    InputError
        If a pixel is not finite, or a noise sigma is not finite and above 0; names the first stamp.
    """
    for what, bad in find_faults(image, noise_sigma).items():
        if bad.any():
            first = int(bad.argmax())
            name = first if names is None else names[first]
            prefix = f"{where}: " if where else ""
            raise InputError(
                f"{prefix}sample {name} has {what} ({int(bad.sum())} such stamps); mask or remove it"
            )


def find_faults(image: np.ndarray, noise_sigma: np.ndarray) -> dict[str, np.ndarray]:
    """Return which stamps (n,) have each of the faults that a network would turn into NaN."""
    return {
        "pixels that are not finite": ~np.isfinite(image).all(axis=(1, 2, 3)),
        "a noise_sigma that is not above 0": ~(np.isfinite(noise_sigma) & (noise_sigma > 0)).all(axis=1),
    }
