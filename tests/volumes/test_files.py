"""Volumes read from files: what is refused and by which words, what is never run, where NIfTI's volumes lie."""

import gzip
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from visual_summaries.pipeline.data.class_map import CatalogError
from visual_summaries.pipeline.data.volumes.atlas import LabelVolume, orientation, read_atlas, read_names
from visual_summaries.pipeline.data.volumes.files import VolumeError, open_volume
from visual_summaries.pipeline.data.volumes.scans import find_scans, read_scan, scan_id

SHAPE = (4, 5, 6)
AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
ATLAS = LabelVolume(np.ones(SHAPE, np.int64), AFFINE)


def read(path: Path, below_dark: bool = False, atlas: LabelVolume = ATLAS) -> np.ndarray:
    return read_scan(path, atlas, below_dark, scan_id(path))


def volume(**changes: float) -> np.ndarray:
    values = np.random.default_rng(0).uniform(0, 1, SHAPE).astype(np.float32)
    for value in changes.values():
        values[0, 0, :2] = value
    return values


class Trap:
    """Unpickled, it makes a folder."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __reduce__(self):  # noqa: ANN204
        return os.mkdir, (self.folder,)


def raw(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def truncated(path: Path) -> None:
    np.savez(path, volume())
    path.write_bytes(path.read_bytes()[:-200])


def cut(path: Path) -> None:
    np.save(path, volume())
    path.write_bytes(path.read_bytes()[:-40])


def flipped(path: Path) -> None:
    np.savez(path, volume=volume())
    content = bytearray(path.read_bytes())
    content[200:210] = bytes(10)
    path.write_bytes(content)


def enormous(path: Path) -> None:
    """A header that promises 8 TB, in an archive of some hundred bytes."""
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (10000, 10000, 10000), }"
    header += b" " * (117 - len(header)) + b"\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("volume.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)


BAD_SCANS = [
    ("empty.npy", lambda path: raw(path, b""), "damaged or of another kind"),
    ("text.npz", lambda path: raw(path, b"no archive"), "damaged or of another kind"),
    ("cut.npy", cut, "truncated or damaged"),
    ("truncated.npz", truncated, "damaged or of another kind"),
    ("flipped.npz", flipped, "Bad CRC-32"),
    ("enormous.npz", enormous, "has 10000 × 10000 × 10000 voxels, the atlas 4 × 5 × 6: bring both to the same space"),
    ("other.npy", lambda path: np.save(path, volume()[:, :, 1:]), "has 4 × 5 × 5 voxels, the atlas 4 × 5 × 6"),
    ("flat.npy", lambda path: np.save(path, volume()[0]), "has the shape 5 × 6: a volume has three axes"),
    ("five.npy", lambda path: np.save(path, volume()[None, None]), "has the shape 1 × 1 × 4 × 5 × 6"),
    ("nan.npy", lambda path: np.save(path, volume(nan=np.nan)), "2 of 120 values are no finite numbers"),
    ("wide.npy", lambda path: np.save(path, volume().astype(np.float64) * 1e300), "values are no finite numbers"),
    ("black.npy", lambda path: np.save(path, np.zeros(SHAPE)), "every value is 0: the scan is empty"),
    ("below.npy", lambda path: np.save(path, volume(air=-1000)), r"values below 0 \(the least is -1000\).* --dark"),
    ("complex.npy", lambda path: np.save(path, volume() + 1j), "holds values of the type complex64"),
    ("two.npz", lambda path: np.savez(path, a=volume(), b=volume()), "holds the arrays a, b: keep one"),
    ("none.npz", lambda path: np.savez(path, affine=AFFINE), "holds no array"),
    ("size.npz", lambda path: np.savez(path, a=volume(), affine=np.eye(3)), "its array affine is not 4 × 4"),
    ("sunk.npz", lambda path: np.savez(path, a=volume(), affine=np.zeros((4, 4))), "its affine leads nowhere"),
    (
        "turned.npz",
        lambda path: np.savez(path, a=volume(), affine=AFFINE * [[-1], [1], [1], [1]]),
        "is oriented LAS, the atlas RAS: bring both to the same orientation",
    ),
    (
        "moved.npz",
        lambda path: np.savez(path, a=volume(), affine=AFFINE + np.eye(4, k=3) * 7),
        "lies elsewhere than the atlas: its affine leads a corner 7 mm away",
    ),
    (
        "larger.npz",
        lambda path: np.savez(path, a=volume(), affine=AFFINE * [[1.5], [1], [1], [1]]),
        "lies elsewhere than the atlas: its affine leads a corner 3 mm away",
    ),
]


@pytest.mark.parametrize(("name", "write", "reason"), BAD_SCANS, ids=[name for name, *_ in BAD_SCANS])
def test_bad_scans_are_refused_with_the_reason(
    name: str, write: Callable[[Path], None], reason: str, tmp_path: Path
) -> None:
    write(tmp_path / name)
    with pytest.raises(VolumeError, match=reason) as refused:
        read(tmp_path / name)
    assert refused.value.image_id == scan_id(tmp_path / name) and "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["pickled.npy", "pickled.npz"])
def test_nothing_is_unpickled(name: str, tmp_path: Path) -> None:
    objects = np.full(SHAPE, Trap(str(tmp_path / "sprung")), dtype=object)
    if name.endswith("npy"):
        np.save(tmp_path / name, objects, allow_pickle=True)
    else:
        np.savez(tmp_path / name, objects)
    for refused, attempt in ((VolumeError, read), (CatalogError, read_atlas)):
        with pytest.raises(refused, match="holds Python objects, which are never unpickled"):
            attempt(tmp_path / name)
    (tmp_path / name).write_bytes(pickle.dumps(Trap(str(tmp_path / "sprung"))))
    with pytest.raises(VolumeError):
        read(tmp_path / name)
    assert not (tmp_path / "sprung").exists()


def test_good_scans_keep_their_order_and_channels(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.asfortranarray(volume()))
    assert np.array_equal(read(tmp_path / "a.npy"), volume()[None])
    np.savez_compressed(tmp_path / "b.npz", x=np.stack([volume(), 2 * volume()]), affine=AFFINE + 1e-5)
    assert np.array_equal(read(tmp_path / "b.npz"), np.stack([volume(), 2 * volume()]))
    np.save(tmp_path / "c.npy", volume(air=-1000).astype(np.int16))
    found = read(tmp_path / "c.npy", below_dark=True)
    assert found.dtype == np.float32 and found.min() == -1000
    with pytest.raises(VolumeError, match="has changed since the run began") as refused:
        read_scan(tmp_path / "c.npy", ATLAS, True, scan_id(tmp_path / "a.npy"))
    assert refused.value.image_id is None


def test_a_pipe_is_no_scan(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.nii")
    for attempt in (open_volume, scan_id):
        with pytest.raises(VolumeError, match="there is no such file"):
            attempt(tmp_path / "pipe.nii")


BAD_ATLASES = [
    (np.zeros(SHAPE, int), "every label is 0: it has no segment"),
    (np.full(SHAPE, 0.5), "it holds values that are no whole numbers"),
    (np.full(SHAPE, np.nan), "it holds values that are no whole numbers"),
    (np.arange(-1, 119).reshape(SHAPE), "it holds the label -1"),
    (np.ones((2, *SHAPE), int), "has the shape 2 × 4 × 5 × 6; an atlas is one volume"),
    (np.ones((4, 5), int), "has the shape 4 × 5"),
]


@pytest.mark.parametrize(("labels", "reason"), BAD_ATLASES, ids=[reason for _, reason in BAD_ATLASES])
def test_bad_atlases_are_refused_by_name(labels: np.ndarray, reason: str, tmp_path: Path) -> None:
    np.save(tmp_path / "atlas.npy", labels)
    with pytest.raises(CatalogError, match=f"atlas.npy: cannot be used as the atlas: {reason}"):
        read_atlas(tmp_path / "atlas.npy")


def test_an_atlas_without_bounds_is_not_read(tmp_path: Path) -> None:
    enormous(tmp_path / "atlas.npz")
    with pytest.raises(CatalogError, match="has 10000 × 10000 × 10000 voxels; take one of at most 1,073,741,824"):
        read_atlas(tmp_path / "atlas.npz")


def test_an_atlas_may_be_of_floats_and_its_digest_is_of_its_labels(tmp_path: Path) -> None:
    labels = np.arange(120).reshape(SHAPE)
    digests = set()
    for kind in (np.uint8, np.float32, bool):
        np.save(tmp_path / "atlas.npy", labels.astype(kind))
        found = read_atlas(tmp_path / "atlas.npy")
        assert np.array_equal(found.labels, labels.astype(kind).astype(int)) and found.labels.dtype == np.int64
        digests.add(found.digest)
    assert len(digests) == 2
    assert LabelVolume(found.labels, AFFINE).digest not in digests


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("name\nx\n", "lacks the columns label; found name"),
        ("", "the file is empty"),
        ("label,name\n1.5,x\n", "line 2: the label '1.5' is no whole number"),
        ("label,name\n1,\n", "line 2: the segment 1 has an empty name"),
        ("label,name\n1,x\n1,y\n", "line 3: the segment 1 has another name before"),
        (b"label,name\n1,\xff\n", "UTF-8"),
    ],
)
def test_bad_names_are_refused_by_name(text: str | bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "names.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(CatalogError, match=reason) as refused:
        read_names(tmp_path / "names.csv")
    assert "names.csv" in str(refused.value)


def test_names_may_have_further_columns_and_a_mark_of_their_encoding(tmp_path: Path) -> None:
    (tmp_path / "names.csv").write_text('\ufeffid,Label, name\nx,3,"Hippocampus, left"\ny,4,Amygdala\n')
    assert read_names(tmp_path / "names.csv") == {3: "Hippocampus, left", 4: "Amygdala"}
    with pytest.raises(CatalogError, match="cannot read the names of segments .*gone.csv: No such file"):
        read_names(tmp_path / "gone.csv")


def test_scans_are_found_by_class(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="does not exist; give a folder with one folder of scans"):
        find_scans(tmp_path / "none")
    (tmp_path / "a" / "deep" / ".hidden").mkdir(parents=True)
    with pytest.raises(CatalogError, match=r"no scans \(.nii, .nii.gz, .npy, .npz\) in its 1 folders; DICOM"):
        find_scans(tmp_path)
    np.save(tmp_path / "loose.npy", volume())
    (tmp_path / "loose.npy").rename(tmp_path / "a" / "deep" / ".hidden" / "x.npy")
    for name in ("a/2.NPY", "a/1.npz", "a/deep/3.npy", "a/notes.txt", "a/._4.npy"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "b").mkdir()
    found = find_scans(tmp_path)
    assert {label: [one.name for one in some] for label, some in found.items()} == {
        "a": ["a/1.npz", "a/2.NPY", "a/deep/3.npy"],
        "b": [],
    }
    (tmp_path / "c").mkdir()
    np.save(tmp_path / "c" / "x.npy", volume())
    with pytest.raises(CatalogError, match="holds scans, but not in folders"):
        find_scans(tmp_path / "c")


def test_orientation_is_that_of_the_nearest_axes() -> None:
    assert orientation(np.eye(4)) == "RAS"
    assert orientation(np.array([[0.1, 0, -2, 5], [-3, 0.2, 0, 1], [0, 1, 0.3, 0], [0, 0, 0, 1]])) == "PSL"


def test_nifti_volumes_lie_where_their_headers_say(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel", reason="the extra 'volumes' is not installed")
    values = np.arange(120, dtype=np.int16).reshape(SHAPE)
    image = nibabel.Nifti1Image(values, AFFINE)
    image.header.set_slope_inter(0.5, 1)
    for name in ("a.nii", "b.nii.gz"):
        nibabel.save(image, tmp_path / name)
        stored = nibabel.load(tmp_path / name).get_fdata()
        assert np.allclose(read(tmp_path / name)[0], stored)
    nibabel.save(nibabel.Nifti2Image(np.stack([values, values + 9], axis=-1), AFFINE), tmp_path / "c.nii")
    assert read(tmp_path / "c.nii")[1].min() == 9
    nibabel.save(nibabel.as_closest_canonical(image).slicer[::-1], tmp_path / "d.nii.gz")
    with pytest.raises(VolumeError, match="is oriented LAS, the atlas RAS"):
        read(tmp_path / "d.nii.gz")
    # Without codes the header does not say where it lies: its shape is all there is to compare.
    image.header["qform_code"] = image.header["sform_code"] = 0
    free = nibabel.Nifti1Image(values, None, image.header)
    nibabel.save(free, tmp_path / "e.nii")
    assert open_volume(tmp_path / "e.nii").affine is None and read(tmp_path / "e.nii").shape == (1, *SHAPE)
    packed = (tmp_path / "b.nii.gz").read_bytes()
    (tmp_path / "cut.nii.gz").write_bytes(packed[: len(packed) - 30])
    (tmp_path / "cut.nii").write_bytes((tmp_path / "a.nii").read_bytes()[:400])
    (tmp_path / "other.nii.gz").write_bytes(gzip.compress(b"no header"))
    colors = np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.save(nibabel.Nifti1Image(colors, AFFINE), tmp_path / "f.nii")
    for name, reason in {
        "cut.nii.gz": "damaged",
        "cut.nii": "truncated or damaged",
        "other.nii.gz": "damaged or of another kind",
        "f.nii": "holds values of the type",
    }.items():
        with pytest.raises(VolumeError, match=reason):
            read(tmp_path / name)
    nibabel.save(nibabel.Nifti1Image(values.astype(np.float32)[..., None], AFFINE), tmp_path / "atlas.nii.gz")
    assert np.array_equal(read_atlas(tmp_path / "atlas.nii.gz").labels, values)


def test_without_the_reader_of_nifti_it_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.nii.gz").write_bytes(b"")
    with pytest.raises(CatalogError, match=r"x.nii.gz: NIfTI files are read by nibabel: pip install"):
        find_scans(tmp_path)
    with pytest.raises(CatalogError, match="pip install 'visual-summaries"):
        read_atlas(tmp_path / "a" / "x.nii.gz")
