"""The job `clean`: files below a run's tables that no manifest lists, and what killed processes have left."""

import json
import os
import re
import shutil
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from visual_summaries.pipeline.objects import ObjectError, ObjectPath, is_there
from visual_summaries.pipeline.runtime.exclusive import exclusive
from visual_summaries.pipeline.stages.report.stage import FOLDER as REPORT
from visual_summaries.pipeline.stages.squares import left_over
from visual_summaries.pipeline.store.atomic import TEMPORARY_SUFFIX
from visual_summaries.pipeline.store.tables import MEND, StoreError, TableStore
from visual_summaries.schemas import TABLES

# A worker of a run that was killed may still be writing for a while.
YOUNG_SECONDS = 3600.0
SHARD = re.compile(r"[^/]+/label=[^/]*/[^/]+\.parquet")


@dataclass
class Rubbish:
    """Files to be removed, path below the folder → bytes, and what is left there and why."""

    name: str
    folder: Path | ObjectPath
    files: dict[str, int] = field(default_factory=dict)
    left: str = ""
    young: int = 0

    @property
    def said(self) -> str:
        """A line for a person."""
        line = f"{self.name:<16} {len(self.files):>8} files  {_size(sum(self.files.values())):>9}"
        if self.young:
            line += f"; left: {self.young} younger than an hour (--force)"
        return line + (f"; left: {self.left}" if self.left else "")


def run_clean(run: str, console: Console, remove: bool = False, force: bool = False) -> None:
    """Say what can go from a run's folder, by table; with `remove` it goes.

    Shards that a manifest lists stay, and so does everything outside the folder `tables` but unfinished files of the
    report and squares of photographs that runs have left on this machine: answers, results, other explainers' runs.

    Args:
        run: folder or address of a run.
        force: also files younger than an hour, and of tables that are not complete, where the run would find them
            again.

    Raises:
        RunFailed: another run is writing there.
        StoreError: no run is there, or a link leads out of it, or the store refuses.
    """
    store = TableStore(run)
    try:
        if not is_there(store.folder("runs") / "manifest.json"):
            raise StoreError(f"{run} is no run: there is no tables/runs/manifest.json in it; nothing was removed")
        with exclusive(store.root):
            found = [*(_of_table(store, table, force) for table in TABLES), _unfinished_pages(store, force)]
            for one in found:
                if one.files or one.left or one.young:
                    console.print(one.said, markup=False, highlight=False, soft_wrap=True)
            squares = left_over()
            if squares:
                console.print(f"{'squares':<16} {len(squares):>8} folders of earlier runs on this machine")
            if remove:
                for one in found:
                    if one.files:
                        _remove(one)
                for folder in squares:
                    shutil.rmtree(folder, ignore_errors=True)
    except ObjectError as error:
        raise StoreError(f"{error}; {MEND}") from error
    count, size = sum(len(one.files) for one in found), sum(sum(one.files.values()) for one in found)
    if not count and not squares:
        console.print("Nothing to remove.")
    elif remove:
        console.print(f"Removed: {count} files, {_size(size)}.")
    else:
        console.print(f"To be removed: {count} files, {_size(size)}. With --remove they go.")


def _of_table(store: TableStore, table: str, force: bool) -> Rubbish:
    folder = store.folder(table)
    found = Rubbish(table, folder)
    states = _states(store, folder)
    if not states:
        return found
    try:
        listed = {shard.path for shard in store.manifest(table)}
        complete = json.loads((folder / "manifest.json").read_text())["complete"]
    except (StoreError, KeyError) as error:
        # Which of them are shards is not known; the run finds those that are complete.
        found.left, unlisted = f"all, its manifest cannot be read: {error}", {}
    else:
        unlisted = {path: state for path, state in states.items() if path not in listed and SHARD.fullmatch(path)}
        if unlisted and not complete and not force:
            found.left = (
                f"{len(unlisted)} of a table that no run has finished: the command that makes it may find them again "
                "(--force)"
            )
            unlisted = {}
    unlisted |= {path: state for path, state in states.items() if path.endswith(TEMPORARY_SUFFIX)}
    return _without_young(found, unlisted, force)


def _unfinished_pages(store: TableStore, force: bool) -> Rubbish:
    """Of the report what a killed process was writing; objects appear whole."""
    folder = store.root / REPORT
    states = {} if isinstance(folder, ObjectPath) else _states(store, folder)
    unfinished = {path: state for path, state in states.items() if path.endswith(TEMPORARY_SUFFIX)}
    return _without_young(Rubbish(REPORT, folder), unfinished, force)


def _without_young(found: Rubbish, states: Mapping[str, tuple[int, int]], force: bool) -> Rubbish:
    oldest_young = (time.time() - YOUNG_SECONDS) * 1e9
    for path, (size, written) in sorted(states.items()):
        if written > oldest_young and not force:
            found.young += 1
        else:
            found.files[path] = size
    return found


def _states(store: TableStore, folder: Path | ObjectPath) -> dict[str, tuple[int, int]]:
    """Path below the folder → bytes and time of writing in ns, of files alone; links are neither followed nor counted.

    Raises:
        StoreError: the folder itself is a link out of the run.
    """
    if isinstance(folder, ObjectPath):
        return folder.states()
    real = Path(os.path.realpath(folder))
    if not real.is_relative_to(os.path.realpath(store.root)):
        raise StoreError(f"{folder} leads out of {store.root} by a link, to {real}: nothing was removed")
    if not folder.is_dir():
        return {}
    return {path: (state.st_size, state.st_mtime_ns) for path, state in _walk(folder)}


def _walk(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    for place, _, names, descriptor in os.fwalk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                state = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                if stat.S_ISREG(state.st_mode):
                    yield os.path.relpath(os.path.join(place, name), folder), state


def _remove(rubbish: Rubbish) -> None:
    """Remove the files, and the folders that are empty then."""
    folder = rubbish.folder
    if isinstance(folder, ObjectPath):
        for path in rubbish.files:
            (folder / path).unlink(missing_ok=True)
        return
    emptied = {str(Path(path).parent) for path in rubbish.files}
    emptied |= {str(parent) for path in emptied for parent in Path(path).parents}
    try:
        # By the folder's descriptor: no link that is put there meanwhile leads elsewhere.
        for place, folders, names, descriptor in os.fwalk(folder, topdown=False):
            for name in names:
                if os.path.relpath(os.path.join(place, name), folder) in rubbish.files:
                    os.unlink(name, dir_fd=descriptor)
            for name in folders:
                if os.path.relpath(os.path.join(place, name), folder) in emptied:
                    with suppress(OSError):
                        os.rmdir(name, dir_fd=descriptor)
    except OSError as error:
        reason = error.strerror or error
        raise StoreError(f"cannot remove files in {folder}: {reason}; allow writing there, and do it again") from error


def _size(count: float) -> str:
    """Bytes in two digits at least."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 10 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
