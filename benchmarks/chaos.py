"""Kills and freezes at random moments of runs on a Ray cluster of three nodes; the tables must not show it.

    VISUAL_SUMMARIES_DATA=… python benchmarks/chaos.py FOLDER [--times 10] [--seed 0] [--bucket] [--kinds KIND …]

An undisturbed run of SqueezeNet on 18 photographs first, into a folder; then rounds of the same run into an empty
folder, or with `--bucket` an empty prefix of an S3-compatible server on this machine. In each round one worker
process, one actor in the middle of a unit, one whole node (another joins) and the driver (the same command is started
again) are killed with signal 9, one actor and the driver are frozen with SIGSTOP for longer than a unit may stand
still and a claim lives (in a bucket the same command is started meanwhile and takes over; the frozen one wakes up and
must end with an error), each at a random moment, until each has happened `--times` times. After each round every
shard must have the name and the sha256 of the undisturbed run's (the rows alone where a column is measured:
`maps.seconds`), no temporary file may be left, and every file of a table must be whole. Prints Markdown; the exit
status is 1 if a round went wrong, whose folder then stays. A file `done.json` in the folder counts what has happened:
with the same folder it goes on there.
"""

import argparse
import json
import random
import shutil
import signal
import sys
from collections import Counter
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from photographs import data_directory

for tests in ("chaos", "objects"):
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / tests))
from disturbed import (  # noqa: E402
    KINDS,
    choose_photographs,
    differences,
    disturbed,
    job,
    shards,
    small_cluster,
)
from store_server import BUCKET, StoreServer, store_server  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bucket", action="store_true", help="write to an S3-compatible server")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    data, done = data_directory(), options.folder / "done.json"
    photographs = options.folder / "photographs"
    if not photographs.is_dir():
        choose_photographs(data, photographs)
    before = {"rounds": 0, "wrong": 0, "happened": {}, "outlived": []}
    if done.is_file():
        before = json.loads(done.read_text())
    number, wrong, outlived = before["rounds"], before["wrong"], before["outlived"]
    happened: Counter[str] = Counter(before["happened"])
    with ExitStack() as stack:
        server = stack.enter_context(store_server()) if options.bucket else None
        cluster, environment = stack.enter_context(small_cluster(options.folder / "nodes.log"))

        def round_of(name: str, planned: list[tuple[float, str]], bucket: str | None):  # noqa: ANN202
            holder = partial(holder_of, server, name) if server and bucket else None
            running = job(data, photographs, options.folder / name, cluster, environment, bucket, holder)
            return disturbed(running, cluster, planned, generator.randrange), running

        expected = options.folder / "undisturbed"
        generator = random.Random(options.seed)
        quiet, running = round_of("undisturbed", [], None)
        if running.process.returncode != 0:
            print(running.log.read_text())
            return 1
        count = sum(len(listed) for listed in shards(expected).values())
        print(f"Undisturbed: {quiet.seconds:.0f} s, {count} shards.\n")
        print("| round | what, after seconds | took s | status | of frozen drivers | different |")
        print("| ---: | --- | ---: | ---: | --- | --- |", flush=True)
        while any(happened[kind] < options.times for kind in options.kinds) and number < 3 * options.times:
            number += 1
            generator = random.Random(f"{options.seed} {number}")
            kinds = [kind for kind in options.kinds if happened[kind] < options.times]
            planned = [(generator.uniform(0.05, 0.95) * quiet.seconds, kind) for kind in kinds]
            name, bucket = f"round-{number}", f"s3://{BUCKET}" if server else None
            result, running = round_of(name, planned, bucket)
            happened.update(kind for _, kind in result.done)
            outlived += running.outlived
            if server:
                fetch(server, name, options.folder / name)
            status = running.process.returncode
            different = differences(options.folder / name, expected) if status == 0 else ["unfinished"]
            different += ["a frozen driver went on for too long"] if -signal.SIGKILL in running.outlived else []
            told = ", ".join(f"{kind} {after:.1f}" for after, kind in result.done)
            ended, found = ", ".join(map(str, running.outlived)), "; ".join(different) or "nothing"
            print(f"| {number} | {told} | {result.seconds:.0f} | {status} | {ended} | {found} |", flush=True)
            if different:
                wrong += 1
            else:
                shutil.rmtree(options.folder / name)
            said = {"rounds": number, "wrong": wrong, "happened": happened, "outlived": outlived}
            done.write_text(json.dumps(said))
    print(f"\nDone: {', '.join(f'{happened[kind]} × {kind}' for kind in options.kinds)}. Rounds gone wrong: {wrong}.")
    return 1 if wrong else 0


def holder_of(server: StoreServer, prefix: str) -> int | None:
    """The process that holds the claim below a prefix."""
    try:
        found = server.client.get_object(Bucket=BUCKET, Key=f"{prefix}/.claims/holder.json")
    except server.client.exceptions.NoSuchKey:
        return None
    return json.loads(found["Body"].read())["process"]


def fetch(server: StoreServer, prefix: str, folder: Path) -> None:
    """Copy all objects below a prefix to a folder, and delete them."""
    for key in server.keys(f"{prefix}/"):
        target = folder / key.removeprefix(f"{prefix}/")
        target.parent.mkdir(parents=True, exist_ok=True)
        server.client.download_file(BUCKET, key, str(target))
        server.client.delete_object(Bucket=BUCKET, Key=key)


if __name__ == "__main__":
    sys.exit(main())
