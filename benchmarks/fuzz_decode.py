"""Coverage-guided fuzzing of the decoder of photographs.

    python benchmarks/fuzz_decode.py [--seconds 300] [--engine atheris] [--seed 0]

Starts from small files of every format, whole and damaged (tests/data/odd_images.py), changes bytes, and keeps what
reaches new lines of the decoder or of Pillow's readers. With `--engine atheris` (`pip install atheris`: libFuzzer,
which compares values as well) the same target runs there. Wrong are: an exception other than DecodeError, a reason
that is not one printable line, more than 10 s for a file, more memory than the bounds allow. What went wrong is
written to `--crashes` and the exit status is not 0.
"""

import argparse
import faulthandler
import hashlib
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "data")]

SECONDS_PER_FILE = 10
# Smaller bounds than the decoder's own make what exceeds them show.
PIXELS = 4_000_000
MEMORY = 700 * 2**20
LONGEST = 60_000
INTERESTING = (0, 1, 2, 7, 8, 16, 32, 127, 128, 254, 255)


def seeds() -> list[bytes]:
    """One small file of each format and mode."""
    from odd_images import FORMATS, _metadata, _modes, _others, encoded, picture
    from tiffs import drawn, forms, storages, tiff

    small = picture(0, 24, 18)
    whole = [encoded(small, kind, **options) for kind, options in FORMATS.values()]
    others = [content for files in (_modes(), _metadata(), _others()) for _, content, _ in files]
    generator = np.random.default_rng(0)
    rare = [form for storage in storages() for form in forms(storage)][::101]
    tiffs = [tiff(drawn(form, generator), form) for form in rare]
    return [content for content in (*whole, *others, *tiffs) if len(content) <= LONGEST]


def make_target(crashes: Path) -> Callable[[bytes], None]:
    """What is called with each input; it raises when something is wrong."""
    from PIL import Image

    from visual_summaries.pipeline.data import decode

    decode.MAXIMUM_PIXELS = Image.MAX_IMAGE_PIXELS = PIXELS
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def target(content: bytes) -> None:
        # Left behind if the process has to be ended, for a hang or by a signal.
        last = crashes / "last"
        last.write_bytes(content)
        faulthandler.dump_traceback_later(SECONDS_PER_FILE, exit=True)
        try:
            decode.decode(bytes(content))
        except decode.DecodeError as error:
            if not str(error).isprintable() or len(str(error)) > 400:
                raise AssertionError(f"no useful reason: {str(error)!r}") from None
        finally:
            faulthandler.cancel_dump_traceback_later()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        if peak - before > MEMORY:
            raise AssertionError(f"{(peak - before) / 2**20:.0f} MB of memory for {len(content)} bytes")

    return target


class Coverage:
    """Lines of Pillow's readers and of the decoder that a call has run, by tracing."""

    def __init__(self) -> None:
        self.lines: set[tuple[str, int]] = set()
        self.known: set[tuple[str, int]] = set()

    def _trace(self, frame, event, argument):  # noqa: ANN001, ANN202
        name = frame.f_code.co_filename
        if "/PIL/" not in name and "/pipeline/data/" not in name:
            return None
        if event == "line":
            self.lines.add((name, frame.f_lineno))
        return self._trace

    def of(self, action: Callable[[], None]) -> int:
        """Run it; how many lines were new."""
        self.lines = set()
        sys.settrace(self._trace)
        try:
            action()
        finally:
            sys.settrace(None)
        new = len(self.lines - self.known)
        self.known |= self.lines
        return new


def mutated(corpus: list[bytes], generator: random.Random) -> bytes:
    """A file of the corpus with some changes."""
    content = bytearray(generator.choice(corpus))
    for _ in range(2 ** generator.randrange(6)):
        place = generator.randrange(len(content) + 1)
        # Headers decide more than pixels do.
        place = min(place, generator.randrange(400)) if generator.random() < 0.6 else place
        length = min(generator.choice((1, 1, 2, 4, 8, 40)), len(content) - place)
        kind = generator.randrange(6)
        if kind == 0:
            content[place : place + length] = generator.randbytes(length)
        elif kind == 1:
            content[place : place + length] = bytes([generator.choice(INTERESTING)]) * length
        elif kind == 2:
            del content[place : place + length * generator.choice((1, 10))]
        elif kind == 3:
            content[place:place] = content[place : place + length] * generator.choice((1, 3, 50))
        elif kind == 4:
            other = generator.choice(corpus)
            start = generator.randrange(len(other) or 1)
            content[place:place] = other[start : start + generator.randrange(200)]
        elif length:
            content[place] ^= 1 << generator.randrange(8)
    return bytes(content[:LONGEST])


def fuzz(target: Callable[[bytes], None], seconds: float, runs: int, seed: int, crashes: Path) -> int:
    """Our own loop; how many inputs went wrong."""
    generator, coverage = random.Random(seed), Coverage()
    corpus, wrong, done = seeds(), 0, 0
    for content in corpus:
        coverage.of(lambda content=content: target(content))
    started, first = time.monotonic(), len(coverage.known)
    while time.monotonic() - started < seconds and done < runs:
        done += 1
        content = mutated(corpus, generator)
        try:
            if coverage.of(lambda content=content: target(content)):
                corpus.append(content)
        except Exception as error:
            wrong += 1
            path = crashes / hashlib.sha256(content).hexdigest()[:16]
            path.write_bytes(content)
            print(f"{path}: {type(error).__name__}: {error}", flush=True)
            if wrong >= 20:
                break
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{done} files in {time.monotonic() - started:.0f} s, {wrong} went wrong; lines reached: {first} by the seeds, "
        f"{len(coverage.known)} in the end; corpus {len(corpus)}; peak {peak:.0f} MB"
    )
    return wrong


def fuzz_by_atheris(seconds: int, seed: int, crashes: Path) -> None:
    """libFuzzer's loop, which does not return."""
    import atheris

    with atheris.instrument_imports(include=["PIL", "visual_summaries.pipeline.data.decode"]):
        target = make_target(crashes)
        from PIL import Image

        # The readers are modules of their own, found only now.
        Image.init()
    corpus = crashes / "corpus"
    corpus.mkdir(exist_ok=True)
    for content in seeds():
        (corpus / hashlib.sha256(content).hexdigest()[:16]).write_bytes(content)
    options = [f"-max_total_time={seconds}", f"-seed={seed + 1}", f"-max_len={LONGEST}", "-rss_limit_mb=4096"]
    options += [f"-timeout={SECONDS_PER_FILE}", f"-artifact_prefix={crashes}/", "-print_final_stats=1", str(corpus)]
    atheris.Setup([sys.argv[0], *options], target)
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--runs", type=int, default=10**9)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", choices=("own", "atheris"), default="own")
    parser.add_argument("--crashes", type=Path)
    options = parser.parse_args()
    crashes = options.crashes or Path(tempfile.mkdtemp(prefix="fuzz-"))
    crashes.mkdir(parents=True, exist_ok=True)
    if options.engine == "atheris":
        fuzz_by_atheris(options.seconds, options.seed, crashes)
    return 1 if fuzz(make_target(crashes), options.seconds, options.runs, options.seed, crashes) else 0


if __name__ == "__main__":
    sys.exit(main())
