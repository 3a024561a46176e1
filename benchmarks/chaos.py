"""Kills at random moments of runs on a Ray cluster of three nodes on this machine; the tables must not show it.

    VISUAL_SUMMARIES_DATA=… python benchmarks/chaos.py FOLDER [--times 10] [--seed 0]

An undisturbed run of SqueezeNet on 18 photographs first; then rounds of the same run into an empty folder, in each of
which one worker process, one actor in the middle of a unit, one whole node (another joins) and the driver (the same
command is started again) are killed with signal 9, each at a random moment, until each has happened `--times` times.
After each round every shard must have the name and the sha256 of the undisturbed run's (the rows alone where a column
is measured: `maps.seconds`), no temporary file may be left, and every file of a table must be whole. Prints Markdown;
the exit status is 1 if a round went wrong, whose folder then stays.
"""

import argparse
import random
import shutil
import sys
from collections import Counter
from pathlib import Path

from photographs import data_directory

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "chaos"))
from disturbed import (  # noqa: E402
    KINDS,
    choose_photographs,
    differences,
    disturbed,
    job,
    shards,
    small_cluster,
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.folder.mkdir(parents=True)
    generator = random.Random(options.seed)
    data = data_directory()
    photographs = choose_photographs(data, options.folder / "photographs")
    happened: Counter[str] = Counter()
    wrong = 0
    with small_cluster(options.folder / "nodes.log") as (cluster, environment):

        def round_of(name: str, planned: list[tuple[float, str]]):  # noqa: ANN202
            running = job(data, photographs, options.folder / name, cluster, environment)
            return disturbed(running, cluster, planned, generator.randrange), running

        quiet, running = round_of("undisturbed", [])
        if running.process.returncode != 0:
            print(running.log.read_text())
            return 1
        expected = options.folder / "undisturbed"
        count = sum(len(listed) for listed in shards(expected).values())
        print(f"Undisturbed: {quiet.seconds:.0f} s, {count} shards.\n")
        print("| round | killed, after seconds | took s | status | different |")
        print("| ---: | --- | ---: | ---: | --- |", flush=True)
        number = 0
        while any(happened[kind] < options.times for kind in KINDS) and number < 3 * options.times:
            number += 1
            kinds = [kind for kind in KINDS if happened[kind] < options.times]
            planned = [(generator.uniform(0.05, 0.95) * quiet.seconds, kind) for kind in kinds]
            result, running = round_of(f"round-{number}", planned)
            happened.update(kind for _, kind in result.done)
            status = running.process.returncode
            different = differences(options.folder / f"round-{number}", expected) if status == 0 else ["unfinished"]
            told = ", ".join(f"{kind} {after:.1f}" for after, kind in result.done)
            print(
                f"| {number} | {told} | {result.seconds:.0f} | {status} | {'; '.join(different) or 'nothing'} |",
                flush=True,
            )
            if different:
                wrong += 1
            else:
                shutil.rmtree(options.folder / f"round-{number}")
    print(f"\nKilled: {', '.join(f'{happened[kind]} × {kind}' for kind in KINDS)}. Rounds gone wrong: {wrong}.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
