"""Fuzzing of all that a user or a stored run gives to read: photographs, lists, names, settings, tables, weights.

    python benchmarks/fuzz_inputs.py [--seconds 1200] [--seed 0] [--kinds image,parts] [--figures figures.json]
    python benchmarks/fuzz_inputs.py --again "parts 17" [--seed 0]

Changes bytes and words of valid inputs of each kind (tests/data/changed_inputs.py). Each must be read, or refused with
an error of the documented classes whose message can be shown. Wrong are: any other exception, more than 10 s, more
memory than the bound, the end of the process. Each input follows from the seed, its kind and its number alone. Prints a
table in Markdown; inputs that went wrong are kept in `--findings`, and the exit status is 1 if there are any.
"""

import argparse
import faulthandler
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "data")]

SECONDS_PER_INPUT = 10
MEMORY = 1536 * 2**20
# Smaller than the decoder's own bound, so that what exceeds it shows.
PIXELS = 4_000_000
MOST_FINDINGS = 200


def content_of(kind: str, number: int, seed: int) -> bytes:
    """The input of this number."""
    from changed_inputs import changed, kinds

    return changed(kinds()[kind], random.Random(f"{seed} {kind} {number}"))


def work(seconds: float, seed: int, names: list[str], start: int, folder: Path) -> None:
    """Take the kinds in turn from number `start` until the time is over; a line of JSON for each input."""
    from changed_inputs import Wrong, check, kinds
    from PIL import Image

    from visual_summaries.pipeline.data import decode

    decode.MAXIMUM_PIXELS = Image.MAX_IMAGE_PIXELS = PIXELS
    began = time.monotonic()
    # So that all libraries are loaded before memory is counted.
    for name in names:
        check(kinds()[name], kinds()[name].seeds[0], folder)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    number = start
    while time.monotonic() - began < seconds:
        for name in names:
            content = content_of(name, number, seed)
            print(json.dumps({"begun": name, "number": number}), flush=True)
            faulthandler.dump_traceback_later(SECONDS_PER_INPUT, exit=True)
            line = {"kind": name, "number": number}
            try:
                line["fate"] = check(kinds()[name], content, folder)
            except Wrong as wrong:
                line |= {"fate": "wrong", "why": str(wrong)}
            except MemoryError:
                line |= {"fate": "wrong", "why": "MemoryError"}
            finally:
                faulthandler.cancel_dump_traceback_later()
            print(json.dumps(line), flush=True)
        number += 1


def fuzz(options: argparse.Namespace, names: list[str], findings: Path) -> tuple[dict[str, Counter], list[dict]]:
    """Let processes work until the time is over, one after the other where one ends early."""
    fates: dict[str, Counter] = {name: Counter() for name in names}
    wrong: list[dict] = []
    began, start = time.monotonic(), 0
    while (left := options.seconds - (time.monotonic() - began)) > 0 and len(wrong) < MOST_FINDINGS:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, __file__, "--work", folder, "--start", str(start), "--seconds", str(left)]
            command += ["--seed", str(options.seed), "--kinds", ",".join(names)]
            errors = findings / "stderr.txt"
            with errors.open("w") as file:
                process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=file, text=True, cwd=ROOT)
                begun = None
                for text in process.stdout:
                    line = json.loads(text)
                    begun = line if "begun" in line else None
                    if begun is None:
                        fates[line["kind"]][line["fate"]] += 1
                        if line["fate"] == "wrong":
                            wrong.append(line)
                        start = line["number"]
                status = process.wait()
        if status == 0:
            break
        said = errors.read_text(errors="replace")
        if begun is None:
            sys.exit(said)
        why = "hangs" if "Timeout" in said else f"the process ended with {status}"
        fates[begun["begun"]]["wrong"] += 1
        wrong.append({"kind": begun["begun"], "number": begun["number"], "why": f"{why}: {said[-1500:]}"})
        start = begun["number"] + 1
    for one in wrong:
        (findings / f"{one['kind']} {one['number']}").write_bytes(content_of(one["kind"], one["number"], options.seed))
    return fates, wrong


def again(options: argparse.Namespace) -> int:
    """One input, with the whole traceback."""
    from changed_inputs import check, kinds

    name, _, number = options.again.rpartition(" ")
    content = content_of(name, int(number), options.seed)
    print(f"{len(content)} bytes: {content[:2000]!r}")
    faulthandler.dump_traceback_later(SECONDS_PER_INPUT, exit=True)
    with tempfile.TemporaryDirectory() as folder:
        print(check(kinds()[name], content, Path(folder)))
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", help="names with commas between; all if left out")
    parser.add_argument("--figures", type=Path, help="JSON file for the figures")
    parser.add_argument("--findings", type=Path, help="folder for inputs that went wrong")
    parser.add_argument("--again", metavar="'KIND NUMBER'", help="this input alone, with the whole traceback")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--start", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.again:
        return again(options)
    from changed_inputs import kinds

    names = options.kinds.split(",") if options.kinds else list(kinds())
    if options.work:
        work(options.seconds, options.seed, names, options.start, options.work)
        return 0
    findings = options.findings or Path(tempfile.mkdtemp(prefix="fuzz-"))
    findings.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    fates, wrong = fuzz(options, names, findings)
    seconds = time.monotonic() - began
    print("| input | tried | read | a message | wrong |\n| --- | ---: | ---: | ---: | ---: |")
    for name, fate in (*fates.items(), ("all", sum(fates.values(), Counter()))):
        print(f"| {name} | {fate.total()} | {fate['read']} | {fate['told']} | {fate['wrong']} |")
    print(f"\n{seconds:.0f} s, seed {options.seed}.")
    for one in wrong:
        print(f"{one['kind']} {one['number']}: {one['why']}")
    if options.figures:
        figures = {"seconds": seconds, "seed": options.seed, "fates": fates, "wrong": wrong}
        options.figures.write_text(json.dumps(figures, indent=1) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
