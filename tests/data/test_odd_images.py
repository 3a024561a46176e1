"""Hundreds of damaged and odd files: each gives pixels or a reason, in bounded time and memory; a run lists them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from odd_images import DECODES, EITHER, HUGE_SIDE, REFUSED, picture, scan_bomb, write_odd_images

from visual_summaries.pipeline.data import decode
from visual_summaries.pipeline.data.decode import DecodeError, read_image
from visual_summaries.pipeline.store.tables import TableStore

ROOT = Path(__file__).parents[2]
MEMORY = 3 * 2**30
# Of pictures and program together; the largest picture alone takes half of it.
PEAK = 13 * HUGE_SIDE**2
SECONDS_PER_IMAGE = 30.0


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """(folder, name → what must become of it)."""
    folder = tmp_path_factory.mktemp("odd") / "images"
    return folder, write_odd_images(folder)


def test_each_gives_pixels_or_a_reason_in_bounded_time_and_memory(odd) -> None:
    folder, expected = odd
    assert len(expected) >= 300
    result = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("decoding_process.py")), str(folder), str(MEMORY)],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert result.returncode == 0, result.stderr
    *lines, last = map(json.loads, result.stdout.splitlines())
    assert {line["name"] for line in lines} == set(expected)
    for line in lines:
        fate = DECODES if "shape" in line else REFUSED
        assert expected[line["name"]] in (fate, EITHER), line
        assert line["seconds"] < SECONDS_PER_IMAGE, line
        assert is_useful(line.get("reason", "nothing wrong")), line
    assert last["peak"] < PEAK


def is_useful(reason: str) -> bool:
    """Whether it reads as one line of words."""
    return reason.isprintable() and 8 < len(reason) < 400


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("pipe.jpg", "a named pipe"),
        ("socket.jpg", "a socket"),
        ("endless.jpg", "a device"),
        ("folder.jpg", "a directory"),
        ("dangling.jpg", "No such file"),
        ("circle.jpg", "symbolic links"),
        ("sparse.jpg", "1073741825 bytes; at most 1073741824"),
        ("scans.jpg", "goes over its 4000000 pixels"),
        ("bomb 65000.png", "at most 178956970"),
        ("page.jpg", "not an image"),
        ("phone.jpg", "HEIF"),
        ("cut at 0.5 png.png", "truncated"),
    ],
)
def test_the_reason_says_what_is_wrong(odd, name: str, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        read_image(str(odd[0] / name))


def test_a_photograph_that_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "closed.jpg"
    picture().save(path)
    path.chmod(0)
    nobody = 65534
    if os.geteuid() == 0:
        os.seteuid(nobody)
    try:
        with pytest.raises(DecodeError, match="Permission denied"):
            read_image(str(path))
    finally:
        if os.getuid() == 0:
            os.seteuid(0)


def test_the_scans_of_a_jpeg_are_counted_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    content = scan_bomb(64, 30)
    # The film that a phone hides behind a photograph, and thumbnails, hold such bytes by chance.
    behind = content + b"\xff\xda" * 10_000
    thumbnail = content[:2] + b"\xff\xe7\x00\xca" + b"\xff\xda" * 100 + content[2:]
    scans = next(n for n in range(100) if not refused(content, 64 * 64 * n, monkeypatch))
    assert scans > 30
    for other in (behind, thumbnail):
        assert refused(other, 64 * 64 * (scans - 1), monkeypatch) and not refused(other, 64 * 64 * scans, monkeypatch)


def refused(content: bytes, limit: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(decode, "MAXIMUM_SCANNED_PIXELS", limit)
    try:
        decode.decode(content)
    except DecodeError as error:
        assert "goes over its" in str(error)
        return True
    return False


def test_a_run_over_them_ends_well_and_lists_each(odd, tmp_path: Path) -> None:
    from runs import run_job

    from visual_summaries.pipeline.data.demo.scenes import CLASS_NAMES, write_demo_set

    folder, expected = odd
    write_demo_set(tmp_path / "set", 4, seed=3)
    (tmp_path / "photographs").mkdir()
    for name in CLASS_NAMES[:2]:
        (tmp_path / "set" / name).rename(tmp_path / "photographs" / name)
    # One level down, where the class's other pictures are not: the folder among them is searched for images as well.
    folder = folder.rename(tmp_path / "photographs" / CLASS_NAMES[0] / "odd")
    try:
        settings = ("explain.explainer=grad-cam", "error_tolerance=1", "proposals.limit=60", "data.held_out=0")
        result = run_job(tmp_path / "run", tmp_path / "photographs", *settings)
    finally:
        folder.rename(odd[0])
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr
    store = TableStore(tmp_path / "run")
    rows = store.read_all("errors", ["uri", "reason", "stage"]).to_pylist()
    listed = [Path(row["uri"]).name for row in rows if row["uri"] and row["stage"] == "images"]
    images = {Path(row["uri"]).name: row["decode_error"] for row in store.read_all("images").to_pylist()}
    assert len(listed) == len(set(listed))
    # A folder is searched, not read; every other file has its row of `images`, and of `errors` if it is bad.
    files = {name: fate for name, fate in expected.items() if name != "folder.jpg"}
    assert set(files) <= set(images)
    assert set(listed) == {name for name, error in images.items() if error is not None}
    assert {name for name, fate in files.items() if fate == REFUSED} <= set(listed)
    assert all(is_useful(row["reason"]) for row in rows if row["uri"])
    again = [name for name in listed if files.get(name) == DECODES]
    assert not again, [row for row in rows if row["uri"] and Path(row["uri"]).name in again]
