"""A real disk that fills up, and a folder that may not be written: one message, and the same command goes on later."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from runs import SETTINGS, TABLE_OF, run_job, tables

from visual_summaries.pipeline.store.atomic import TEMPORARY_SUFFIX
from visual_summaries.pipeline.store.tables import TableStore
from visual_summaries.schemas import validate

# Of what the run needs: with the first the first tables do not fit.
SHARES = (0.02, 0.6)
KIB = 1024


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[tuple[Path, Callable[[str], None]]]:
    """(an empty disk in memory, what changes its mount options)."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    mounted = mount and subprocess.run([mount, "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True)
    if not mounted or mounted.returncode != 0:
        pytest.skip("disks cannot be mounted here (not root, or in a container that forbids it)")

    def change(options: str) -> None:
        subprocess.run([mount, "-o", f"remount,{options}", folder], check=True, capture_output=True)

    try:
        yield folder, change
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def check_message(result: subprocess.CompletedProcess, output: Path, reason: str) -> None:
    assert result.returncode == 1, result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr
    said = [line for line in result.stderr.splitlines() if line.startswith("visual-summaries: ")]
    # A log that had to end is told besides, where it was the first to find no room.
    said = [line for line in said if " ends here: " not in line]
    assert len(said) == 1, result.stderr
    assert str(output) in said[0] and reason in said[0]
    assert "run the same command again" in said[0] or "choose another --output" in said[0]


def check_readable(output: Path) -> None:
    """Every table that is there can be read whole, and no unfinished file is left."""
    store = TableStore(output)
    for name in TABLE_OF.values():
        if (store.folder(name) / "manifest.json").exists():
            validate(name, store.read_all(name))
    assert [path for path in output.rglob("*") if path.name.endswith(TEMPORARY_SUFFIX)] == []


def used(folder: Path) -> int:
    """Bytes of a folder as a disk counts them, in pages of 4 KiB."""
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in folder.rglob("*") if path.is_file())


def test_on_a_disk_that_is_full_or_read_only_a_run_says_so_and_with_room_goes_on(
    whole_run, demo_folder, small_disk
) -> None:
    folder, change = small_disk
    settings = (*SETTINGS, f"data.parts={demo_folder.parent / 'parts.csv'}")
    needed = used(whole_run[0])
    for share in SHARES:
        change(f"size={max(16, int(needed * share) // KIB)}k")
        result = run_job(folder, demo_folder, *settings)
        check_message(result, folder, "No space left on device")
        check_readable(folder)
    assert TableStore(folder).read_all("images").num_rows
    change("ro")
    check_message(run_job(folder, demo_folder, *settings), folder, "Read-only file system")
    check_readable(folder)
    change(f"rw,size={4 * needed // KIB}k")
    result = run_job(folder, demo_folder, *settings)
    assert result.returncode == 0, result.stderr
    assert tables(folder) == tables(whole_run[0])


def test_a_folder_that_may_not_be_written(demo_folder, tmp_path: Path) -> None:
    output = tmp_path / "run"
    if os.geteuid() == 0:
        # Root may write anywhere but where a file is.
        output.write_text("")
        reason = "exists"
    else:
        output.mkdir(mode=0o555)
        reason = "Permission denied"
    check_message(run_job(output, demo_folder, *SETTINGS), output, reason)
