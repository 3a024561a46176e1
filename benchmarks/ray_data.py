"""A trial of Ray Data's checkpoints: saliency maps by a pool of two actors, killed half way and taken up again.

    python benchmarks/ray_data.py FOLDER [--images 300]

Prints, as Markdown, what each trial took and what it redid. Ray Data's own words go to FOLDER/log.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

SIDE, BATCH, PER_CLASS, PER_BLOCK, LIMIT_SECONDS = 64, 4, 30, 10, 240


class Explain:
    """|∂ score / ∂ pixel| of SqueezeNet; writes down each image that it takes, dies or fails of those it is told."""

    def __init__(self, folder: str, deadly: str, failing: str) -> None:
        import torch

        from visual_summaries.pipeline.models.loading import load_classifier

        torch.set_num_threads(1)
        self.torch, self.log = torch, Path(folder) / "taken"
        self.classifier = load_classifier("torchvision:squeezenet1_1", "random")
        self.deadly, self.failing = deadly, failing

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        with self.log.open("a") as log:
            log.writelines(f"{one}\n" for one in batch["image_id"])
        if self.deadly in batch["image_id"]:
            os._exit(1)
        if self.failing in batch["image_id"]:
            raise ValueError("of this image")
        pixels = [np.random.default_rng(int(seed)).random((3, SIDE, SIDE), np.float32) for seed in batch["seed"]]
        images = self.torch.from_numpy(np.stack(pixels)).requires_grad_()
        score = self.classifier.logits(self.torch.nn.functional.interpolate(images, size=224)).amax(dim=1).sum()
        (gradient,) = self.torch.autograd.grad(score, images)
        maps = (gradient.abs().amax(dim=1) * 255).byte().numpy()
        return {name: batch[name] for name in ("image_id", "label")} | {"saliency": maps.reshape(len(maps), -1)}


def work(folder: Path, deadly: str, failing: str) -> None:
    """The driver that may be killed."""
    import ray
    from ray.data import ActorPoolStrategy, DataContext
    from ray.data.checkpoint import CheckpointConfig

    ray.init(address="local", num_cpus=6, include_dashboard=False)
    # What filters what is done already wants a processor and a GiB of its own, beside the two actors.
    CheckpointConfig.CHECKPOINT_ACTOR_MEMORY_BYTES = 2**28
    context = DataContext.get_current()
    context.checkpoint_config = CheckpointConfig("image_id", str(folder / "kept"), delete_checkpoint_on_success=False)
    context.max_errored_blocks = 3
    # Left alone, all of them are one block, of which nothing is kept until all are done.
    blocks = ray.data.read_parquet(str(folder / "inputs")).repartition(target_num_rows_per_block=PER_BLOCK)
    blocks.map_batches(
        Explain,
        fn_constructor_args=(str(folder), deadly, failing),
        batch_size=BATCH,
        compute=ActorPoolStrategy(size=2),
    ).write_parquet(str(folder / "maps"))


def write_inputs(folder: Path, images: int, relabel: int = 0) -> None:
    (folder / "inputs").mkdir(parents=True, exist_ok=True)
    for place, start in enumerate(range(0, images, PER_CLASS)):
        numbers = range(start, min(images, start + PER_CLASS))
        labels = [f"class {place}{' again' if number < relabel else ''}" for number in numbers]
        rows = {"image_id": [f"image {one:04}" for one in numbers], "label": labels, "seed": list(numbers)}
        parquet.write_table(pa.table(rows), folder / "inputs" / f"{place:03}.parquet")


def trial(folder: Path, name: str, images: int, half: bool = False, deadly: str = "-", failing: str = "-") -> None:
    """One start of the driver, killed after half of the images if wanted; a row of what came of it."""
    taken, started = folder / "taken", time.perf_counter()
    taken.write_text("")
    with (folder / "log").open("a") as log:
        command = [sys.executable, __file__, str(folder), "--work", deadly, failing]
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        ended = ""
        while process.poll() is None:
            time.sleep(0.1)
            kept = sum(parquet.read_metadata(one).num_rows for one in (folder / "kept").glob("**/*.parquet"))
            late = time.perf_counter() - started > LIMIT_SECONDS
            if late or (half and kept >= images // 2):
                # Its workers end with it.
                process.send_signal(signal.SIGKILL)
                process.wait()
                ended = "not over in time, killed" if late else "killed"
    times = Counter(taken.read_text().splitlines())
    maps = [parquet.read_table(one, columns=["image_id", "label"]) for one in (folder / "maps").glob("**/*.parquet")]
    rows = Counter(pa.concat_tables(maps).column("image_id").to_pylist()) if maps else Counter()
    mixed = sum(len(set(one.column("label").to_pylist())) > 1 for one in maps)
    ended = ended or ("ended well" if process.returncode == 0 else "failed")
    most, twice = max(times.values(), default=0), sum(rows.values()) - len(rows)
    seconds = time.perf_counter() - started
    print(f"| {name} | {ended} | {seconds:.0f} | {len(times)} | {most} | {len(rows)} of {images} | {twice} | "
          f"{mixed} of {len(maps)} |", flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--work", nargs=2)
    arguments = parser.parse_args()
    if arguments.work:
        work(arguments.folder, *arguments.work)
        return
    folder, images = arguments.folder, arguments.images
    print("| trial | end | seconds | images taken | times at most | maps | twice | files of several classes |")
    print("|---|---|--:|--:|--:|--:|--:|--:|")
    for own, name, more in (
        ("half", "killed half way", {"half": True}),
        ("half", "the same again", {}),
        ("half", "again, 50 labels changed", {}),
        ("fails", "one image raises", {"failing": "image 0123"}),
        ("dies", "one image kills its actor", {"deadly": "image 0123"}),
        ("whole", "from the start", {}),
    ):
        write_inputs(folder / own, images, relabel=50 if "changed" in name else 0)
        trial(folder / own, name, images, **more)


if __name__ == "__main__":
    main()
