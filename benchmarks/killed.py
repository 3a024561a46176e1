"""A run of many classes, killed at random moments and resumed each time by the same command: the same tables?

    python benchmarks/killed.py FOLDER UNDISTURBED [section.key=value ...] [--kills 10] [--seed 0]

UNDISTURBED is a folder of a finished size of benchmarks/classes.py: its `drawn` pictures and its `run`. The same job is
started into FOLDER with the same settings. At random moments, spread over the shards and pages that the undisturbed run
made, the driver and every process below it are killed with signal 9, and the command is given again, until it ends by
itself. Each table but those that say what runs have cost must then list the same shards with the same contents. Prints
Markdown: how many shards there were at each kill and how many of those before were written anew since, which would be
work done twice; last, what is different. The exit status is 1 if anything is.
"""

import argparse
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
from photographs import machine
from watched import ROOT, job

from visual_summaries.pipeline.store.atomic import TEMPORARY_SUFFIX
from visual_summaries.pipeline.store.tables import StoreError, TableStore
from visual_summaries.schemas import TABLES

# What runs say of themselves, and what other jobs add.
NOT_COMPARED = ("runs", "costs", "measurements", "ratings")
POLL_SECONDS = 0.5
COMPARED = tuple(name for name in TABLES if name not in NOT_COMPARED)


def kill(process: subprocess.Popen) -> int:
    """Kill the driver and all below it at once; how many there were."""
    driver = psutil.Process(process.pid)
    victims = [driver, *driver.children(recursive=True)]
    for victim in victims:
        try:
            victim.kill()
        except psutil.NoSuchProcess:
            continue
    process.wait()
    psutil.wait_procs(victims[1:], timeout=30)
    return len(victims)


def shards(output: Path) -> dict[str, int]:
    """The shards that are there, complete: path → when they were written, ns."""
    found = {}
    for table in COMPARED:
        for path in (output / "tables" / table).rglob("*.parquet"):
            found[str(path.relative_to(output))] = path.stat().st_mtime_ns
    return found


def progress(output: Path) -> int:
    """Shards and class pages that are there."""
    return len(shards(output)) + sum(1 for _ in (output / "report" / "classes").glob("*/index.html"))


def contents(output: Path) -> dict[str, list[tuple[str, str, int]]]:
    """Table → path, digest of the rows and number of rows of each shard that its manifest lists, in order."""
    store = TableStore(output)
    return {table: [(one.path, one.content, one.rows) for one in store.manifest(table)] for table in COMPARED}


def differences(output: Path, expected: Path) -> list[str]:
    """What is not as in the undisturbed run, in words."""
    found = [f"temporary file {path}" for path in output.rglob(f"*{TEMPORARY_SUFFIX}")]
    try:
        own, other = contents(output), contents(expected)
    except StoreError as error:
        return [*found, str(error)]
    for table in COMPARED:
        if own[table] != other[table]:
            count = len(set(own[table]) ^ set(other[table]))
            found.append(f"{table}: {count} other shards" if count else f"{table}: another order")
    pages = [{str(path.relative_to(folder)) for path in (folder / "report").rglob("*") if path.is_file()}
             for folder in (output, expected)]  # fmt: skip
    return [*found, f"{len(pages[0] ^ pages[1])} other files in the report"] if pages[0] != pages[1] else found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("undisturbed", type=Path)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="settings of the undisturbed run")
    options = parser.parse_intermixed_args()
    folder, undisturbed = options.folder.resolve(), options.undisturbed.resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    total = progress(undisturbed / "run")
    generator = random.Random(options.seed)
    moments = sorted(generator.randrange(total) for _ in range(options.kills))
    print(f"{machine()}; undisturbed: {total:,} shards and class pages.\n")
    print("| kill | at | s after the start | processes | shards there | of those before, written anew |")
    print("|--:|--:|--:|--:|--:|--:|", flush=True)
    command = job(undisturbed / "drawn", folder / "run", options.overrides)
    before: dict[str, int] = {}
    again, began = 0, time.monotonic()

    def seen() -> tuple[int, int]:
        nonlocal before, again
        now = shards(folder / "run")
        anew = sum(path not in now or now[path] != moment for path, moment in before.items())
        before, again = now, again + anew
        return len(now), anew

    with (folder / "run.log").open("w") as log:
        for number, moment in enumerate([*moments, None], 1):
            started = time.monotonic()
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT)
            while process.poll() is None and (moment is None or progress(folder / "run") < moment):
                time.sleep(POLL_SECONDS)
            if process.poll() is not None:
                there, anew = seen()
                print(f"| ended with {process.returncode} | | | | {there:,} | {anew} |", flush=True)
                break
            # Not always just as a shard has come.
            time.sleep(3 * generator.random())
            killed, took = kill(process), time.monotonic() - started
            there, anew = seen()
            print(f"| {number} | {moment:,} | {took:.0f} | {killed} | {there:,} | {anew} |", flush=True)
    found = differences(folder / "run", undisturbed / "run")
    told = f"\n{time.monotonic() - began:.0f} s in all; written twice: {again}."
    print(f"{told} Different: {'; '.join(found) or 'nothing'}.")
    return 1 if found or process.returncode else 0


if __name__ == "__main__":
    sys.exit(main())
