"""Decodes every entry of a folder in this process, with bounded memory; one line of JSON for each, then its peak."""

import json
import os
import resource
import sys
import time
from pathlib import Path

from visual_summaries.pipeline.data.decode import DecodeError, read_image


def main() -> None:
    folder, limit = Path(os.fsdecode(sys.argv[1])), int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for name in sorted(os.listdir(folder)):
        started = time.perf_counter()
        try:
            image = read_image(str(folder / name)).image
            told = {"shape": image.shape}
        except DecodeError as error:
            told = {"reason": str(error)}
        print(json.dumps({"name": name, "seconds": time.perf_counter() - started} | told), flush=True)
    # Not getrusage's figure: that begins with the memory of the process that started this one.
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    print(json.dumps({"peak": int(line.split()[1]) * 1024}))


if __name__ == "__main__":
    main()
