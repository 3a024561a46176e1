"""Milliseconds of a forward and backward pass per image, with what makes it cheaper added one by one.

    VISUAL_SUMMARIES_DATA=../shared/data python benchmarks/pass_cost.py

Each line is a process of its own, because memory that is kept stays kept. Prints Markdown;
docs/reference/measurements/crisp-masks.md keeps the figures. `torch.compile` needs a C++ compiler; its line
says so where there is none.
"""

import argparse
import multiprocessing
import time

import torch
from photographs import NETWORKS, machine, network

from visual_summaries.pipeline.models.batch_norms import fold_batch_norms
from visual_summaries.pipeline.models.preparation import keep_freed_memory

MEASURES = ("channels-last memory", "batch norms folded", "freed memory kept", "batches", "bfloat16", "torch.compile")
# Each line of the table: what is on. The last two are alternatives, both on top of the first four.
LINES = [MEASURES[:count] for count in range(5)] + [MEASURES[:5], (*MEASURES[:4], MEASURES[5])]


def milliseconds(name: str, measures: tuple[str, ...], batch: int, passes: int) -> float:
    """Median over passes of the time of one, per image."""
    torch.set_num_threads(1)
    if "freed memory kept" in measures:
        keep_freed_memory()
    classifier = network(name)
    module = classifier.module
    if "batch norms folded" in measures:
        module, _ = fold_batch_norms(module)
    layout = torch.channels_last if "channels-last memory" in measures else torch.contiguous_format
    module = module.to(memory_format=layout)
    if "torch.compile" in measures:
        module = torch.compile(module)
    count = batch if "batches" in measures else 1
    side = classifier.input_size
    images = torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0)).to(memory_format=layout)
    times = []
    for _ in range(passes + 3):
        started = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled="bfloat16" in measures):
            image = images.clone().requires_grad_()
            torch.autograd.grad(module(image).float().softmax(dim=1)[:, 0].sum(), image)
        times.append(time.perf_counter() - started)
    return 1000 * float(torch.tensor(times[3:]).median()) / count


def measure(results: multiprocessing.Queue, *arguments) -> None:
    """In a process of its own: put the milliseconds, or why there are none."""
    try:
        results.put(f"{milliseconds(*arguments):.1f}")
    except Exception as error:  # No compiler, an unsupported type: the table goes on.
        results.put(f"failed: {type(error).__name__}")


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--passes", type=int, default=15)
    arguments = parser.parse_args()
    print(f"{machine()}; 1 thread; 224 px; ms per image, median of {arguments.passes} passes\n")
    print("| what is on | " + " | ".join(arguments.networks) + " |")
    print("|---" * (1 + len(arguments.networks)) + "|")
    context = multiprocessing.get_context("spawn")
    for measures in LINES:
        cells = []
        for name in arguments.networks:
            results = context.Queue()
            process = context.Process(
                target=measure, args=(results, name, measures, arguments.batch_size, arguments.passes)
            )
            process.start()
            cells.append(results.get())
            process.join()
        label = "as loaded, one image" if not measures else f"+ {measures[-1]}"
        if measures[-1:] == ("batches",):
            label += f" of {arguments.batch_size}"
        elif measures[-1:] == ("torch.compile",):
            label += " instead of bfloat16"
        print(f"| {label} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
