"""Photographs as files, in tar files and in Parquet files: images a second, on the disk and from an S3 server.

    VISUAL_SUMMARIES_DATA=../shared/data python benchmarks/archives.py --photographs 600

Read class by class, as the stage `images` does it; seconds of the processor, the least of three; what is on the disk is
in the system's cache. The server is that of the tests (moto), whose own work counts: its figures compare ways to ask,
they are no store's speed.
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), *(str(ROOT / "tests" / one) for one in ("data", "objects", "commands"))]

from packed import files_of, parquet_bytes, tar_bytes  # noqa: E402
from photographs import data_directory, machine  # noqa: E402
from store_server import BUCKET, store_server  # noqa: E402

from visual_summaries.pipeline.data.archives import reading  # noqa: E402
from visual_summaries.pipeline.data.decode import read_bytes, read_image  # noqa: E402
from visual_summaries.pipeline.data.sources import Source, find_photographs  # noqa: E402
from visual_summaries.pipeline.objects import place  # noqa: E402

SHARDS = 4
TIMES = 3
COLUMNS = ("where", "as", "find (s)", "read (images/s)", "read and decode (images/s)", "requests an image")


def packings(files: Sequence[Path]) -> Iterable[tuple[str, dict[str, bytes]]]:
    """Name of each way to keep the photographs, and its files."""
    mixed = random.Random(1).sample(files, len(files))
    yield "files", {f"{file.parent.name}/{file.name}": file.read_bytes() for file in files}
    for order, own in (("by class", files), ("mixed", mixed)):
        parts = [own[len(own) * number // SHARDS : len(own) * (number + 1) // SHARDS] for number in range(SHARDS)]
        members = ([(f"{file.parent.name}/{file.name}", file.read_bytes()) for file in part] for part in parts)
        yield f"tar, {order}", {f"{number}.tar": tar_bytes(own) for number, own in enumerate(members)}
        yield f"Parquet, {order}", {
            f"{number}.parquet": parquet_bytes(part, "text", group=100) for number, part in enumerate(parts)
        }


def rate(action: Callable[[str], object], source: Source) -> float:
    """Images a second, with no archive open at the beginning."""
    uris = [one.uri for some in source.listing.values() for one in some]
    seconds = []
    for _ in range(TIMES):
        reading._ARCHIVES.__init__()
        started = time.process_time()
        for uri in uris:
            action(uri)
        seconds.append(time.process_time() - started)
    return len(uris) / min(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=int, default=600)
    number = parser.parse_args().photographs
    files = files_of(data_directory() / "photos")
    files = [files[len(files) * place // number] for place in range(min(number, len(files)))]
    print(f"{machine()}; {len(files)} photographs of {len({file.parent for file in files})} classes, "
          f"{sum(file.stat().st_size for file in files) / 1e6:.0f} MB, {SHARDS} shards\n")
    print("| " + " | ".join(COLUMNS) + " |\n|---|---|" + "--:|" * (len(COLUMNS) - 2))
    with tempfile.TemporaryDirectory() as folder, store_server() as server:
        for name, contents in packings(files):
            for file, content in contents.items():
                path = Path(folder) / name / file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
                server.client.put_object(Bucket=BUCKET, Key=f"{name}/{file}", Body=content)
            for where, root in (("disk", Path(folder) / name), ("S3", place(f"s3://{BUCKET}/{name}"))):
                started = time.process_time()
                source = find_photographs(root)
                found = time.process_time() - started
                server.requests.clear()
                read = rate(read_bytes, source)
                requests = f"{len(server.requests) / len(files) / TIMES:.2f}" if where == "S3" else ""
                decoded = rate(read_image, source)
                print(f"| {where} | {name} | {found:.2f} | {read:.0f} | {decoded:.0f} | {requests} |", flush=True)


if __name__ == "__main__":
    main()
