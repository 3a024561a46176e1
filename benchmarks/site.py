"""How long the report of many classes takes to draw, how large its pages are, and how soon they can be used.

    python benchmarks/site.py FOLDER [--classes 1000 --summaries 5 --photographs 20 --workers 2]

Makes a synthetic run in FOLDER, whole: photographs of the demo's scenes (hard links: each class has the same files in
another order), tables with made-up maps, regions and summaries, SqueezeNet 1.1 with random weights. A quarter of the
photographs, on average, is called the class beside; of every fifth class the first summary lies in a corner; classes
come in fours whose first summaries look alike. Then the job `report` draws it by Ray, and again when nothing has
changed; a report that is there is not drawn anew. Chromium opens the overview from the disk, which counts as usable
once the search has been typed into and has filtered the cards, and the other pages about the run. Prints Markdown.
"""

import argparse
import hashlib
import io
import json
import os
import platform
import shutil
import statistics
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from rich.console import Console

from visual_summaries.pipeline.commands.report import run_report
from visual_summaries.pipeline.commands.stored import stored_run
from visual_summaries.pipeline.config import RunConfig, load_config
from visual_summaries.pipeline.data.demo.scenes import write_demo_set
from visual_summaries.pipeline.models.labels import imagenet_labels
from visual_summaries.pipeline.runtime.provenance import host_resources, library_versions
from visual_summaries.pipeline.stages.inputs import gather_inputs
from visual_summaries.pipeline.stages.order import STAGES
from visual_summaries.pipeline.stages.recorded import recorded
from visual_summaries.pipeline.stages.report.stage import FOLDER
from visual_summaries.pipeline.store.tables import TableStore
from visual_summaries.pipeline.summarize.regions import encode_run_length
from visual_summaries.schemas import make_table

SIDE = 224
POOL = 200
FEATURES = 512
CORNER = [190.0, 190.0, 222.0, 222.0]
PAGES = ("index", "worries", "mistakes", "map", "plots", "errors", "methods")


def draw_photographs(folder: Path, labels: list[str], count: int) -> dict[str, list[tuple[str, str]]]:
    """(image id, path) of each class's photographs."""
    if not (folder / "pool").exists():
        write_demo_set(folder / "drawing", POOL // 6 + 1, seed=0)
        (folder / "drawing").rename(folder / "pool")
    pool = sorted((folder / "pool").rglob("*.png"))
    ids = [hashlib.sha256(path.read_bytes()).hexdigest() for path in pool]
    found = {}
    for number, label in enumerate(labels):
        own = folder / "photographs" / label
        own.mkdir(parents=True, exist_ok=True)
        found[label] = []
        for place in range(count):
            chosen = (number * 7 + place) % len(pool)
            target = own / f"{place:03}.png"
            if not target.exists():
                os.link(pool[chosen], target)
            found[label].append((ids[chosen], str(target)))
    return found


def write_tables(config: RunConfig, photographs: dict[str, list[tuple[str, str]]], summaries: int) -> None:
    """Every table that the report reads, and empty ones for the rest."""
    inputs = gather_inputs(config)
    names = inputs.class_names
    store, generator = TableStore(config.output), np.random.default_rng(0)
    shards: dict[str, list] = {stage.writes: [] for stage in STAGES} | {"errors": []}

    def add(name: str, label: str, rows: list[dict]) -> None:
        path = store.shard_path(name, "synthetic", label, "unit")
        shards[name].append(store.write(name, path, make_table(name, rows), label))

    metrics = []
    for index, (label, own) in enumerate(photographs.items()):
        ids = [image_id for image_id, _ in own]
        common, everywhere = {"label": label}, dict(zip(("x0", "y0", "x1", "y1"), (0, 0, SIDE, SIDE), strict=True))
        masks = {image_id: blob(generator) for image_id in ids}
        boxes = {(image_id, n): box(generator) for image_id in ids for n in range(summaries)}
        marked = index % 5 == 0
        corner = np.zeros((SIDE, SIDE), bool)
        if marked:
            boxes |= {(image_id, 0): CORNER for image_id in ids}
            corner[190:222, 190:222] = True
        edges = {key: dict(zip(("x0", "y0", "x1", "y1"), edge, strict=True)) for key, edge in boxes.items()}
        right = generator.random() * 0.5 + 0.5
        beside = (index + 1 if index % 2 == 0 and index + 1 < len(photographs) else max(0, index - 1))
        directions, others = seen_as(index, summaries), seen_as(beside, summaries)
        rightly = generator.random(len(own)) < right
        # What is called the class beside shows a part of that.
        seen = np.where(rightly[:, None], directions[generator.integers(summaries, size=len(own))],
                        others[generator.integers(summaries, size=len(own))])
        seen = unit_length(seen + 0.01 * generator.standard_normal((len(own), FEATURES)))
        add("images", label, [
            common | {
                "image_id": image_id, "uri": uri, "class_index": index, "split": "fit", "width": SIDE, "height": SIDE,
                "mode": "RGB", "prediction": index if known else beside, "features": half(features),
                "prediction_name": names[index if known else beside],
                "prediction_score": 0.9, "score": 0.9 if known else 0.05, "explained": True,
            }
            for (image_id, uri), known, features in zip(own, rightly, seen, strict=True)
        ])
        add("maps", label, [
            common | {
                "image_id": image_id, "explainer": "synthetic", "target": index,
                "saliency": (255 * (mask | corner)).astype(np.uint8).tobytes(), "saliency_shape": [1, SIDE, SIDE],
                "score_before": 0.9, "score_after": 0.1, "drop": float(generator.beta(8, 1)),
                "area": float(mask.mean()), "binarization_error": float(generator.beta(2, 20)),
                "iterations": 1, "seconds": 1.0,
            }
            for image_id, mask in masks.items()
        ])
        add("regions", label, [
            common | around(region) | {
                "image_id": image_id, "region": number, "area": float(region.mean()), "drop": 0.5,
                "run_length": encode_run_length(region).tolist(),
            }
            for image_id, mask in masks.items()
            for number, region in enumerate([mask, corner] if marked else [mask])
        ])
        add("candidates", label, [
            common | everywhere | {
                "candidate": n, "source": "regions, 2", "image_id": image_id, "likeness": 0.5, "coherence": 0.4,
                "chance": 0.1, "rank": n, "segment": [0, 256], "side": 16, "mirrored": False,
                "photographs": len(ids), "support": 1.0, "coverage": 0.9 / (n + 1), "specificity": 0.5,
                "gain": 0.1, "added": 0.4 / (n + 1), "found_again": 0.8,
            }
            for image_id, n in boxes
        ])
        add("members", label, [
            common | edges[image_id, n] | {
                "cluster": n, "image_id": image_id, "rank": ids.index(image_id), "similarity": 0.5,
                "source": "regions", "regions": [1] if marked and n == 0 else [0], "drop": 0.5,
                "necessity": 0.4, "random_necessity": 0.1, "sufficiency": 0.6, "random_sufficiency": 0.2,
                "hull": hull(boxes[image_id, n]), "kept": True,
            }
            for image_id, n in boxes
        ])
        figures = {"necessity": 0.4, "random_necessity": 0.1, "sufficiency": 0.6, "random_sufficiency": 0.2}
        ends = {f"{name}_{end}": figures[name] + by for name in ("necessity", "sufficiency")
                for end, by in (("low", -0.1), ("high", 0.1))}
        add("summaries", label, [
            common | edges[ids[0], n] | figures | ends | {
                "summary": n, "cluster": n, "exemplar_image": ids[0], "members": len(ids),
                "source": "regions, 2", "support_low": 0.8, "support_high": 1.0, "alone": 0, "measured": len(ids),
                "members_before": len(ids), "support": 1.0, "similarity": 0.5, "drop": 0.5, "kept": True,
                "coverage": 0.9 / (n + 1), "added": 0.4 / (n + 1), "coherence": 0.4, "chance": 0.1, "found_again": 0.8,
            }
            for n in range(summaries)
        ])
        # The first summaries of four classes in a row are alike.
        shared = unit_length(np.random.default_rng(index // 4).standard_normal((1, FEATURES)) + 1)
        described = np.concatenate([shared, directions[1:]])[:summaries] * 0.9
        add("tags", label, [
            common | {"summary": n, "rank": rank, "tag": names[index] if rank == 0 else f"tag {n} {rank}",
                      "share": 0.9 - 0.1 * rank, "features": half(described[n]) if rank == 0 else None}
            for n in range(summaries)
            for rank in range(5)
        ])
        add("specialists", label, [
            common | {"summary": n, "coefficients": directions[n].astype(np.float32).tobytes(), "intercept": -0.7,
                      "positives": len(ids), "negatives": 100, "fit_accuracy": 0.9}
            for n in range(summaries)
        ])
        figure = {"low": 0.1, "high": 0.9, "n": len(ids), "unit": "share", "method": "made up"}
        metrics += [
            figure | {"label": label, "metric": name, "value": 0.5} for name in ("drop", "area", "binarization error")
        ]
    add("metrics", "", metrics)
    add("errors", "", [])
    facts = {"configuration": json.dumps(config.model_dump(mode="json")), "weights": "", "seed": 0}
    facts |= {"inputs": recorded(inputs)}
    facts |= {"versions": json.dumps(library_versions()), "host": json.dumps(host_resources())}
    costs = dict.fromkeys(("seconds", "worker_seconds"), 1.0)
    costs |= dict.fromkeys(("peak_memory", "units", "units_cached", "rows"), 1)
    rows = [
        {"run": "synthetic", "stage": stage.name, "started": datetime.now(UTC), **costs, **facts} for stage in STAGES
    ]
    shards["runs"] = [store.write("runs", "synthetic/run.parquet", make_table("runs", rows), "")]
    for name, written in shards.items():
        store.write_manifest(name, "synthetic", written, complete=True)


def seen_as(index: int, summaries: int) -> np.ndarray:
    """Directions in which a class's summaries lie among the features."""
    return unit_length(np.random.default_rng([1, index]).standard_normal((summaries, FEATURES)) + 1)


def unit_length(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def half(features: np.ndarray) -> bytes:
    return features.astype(np.float16).tobytes()


def around(mask: np.ndarray) -> dict[str, float]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    edges = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return dict(zip(("x0", "y0", "x1", "y1"), map(float, edges), strict=True))


def blob(generator: np.random.Generator) -> np.ndarray:
    """A salient region: an ellipse, bool [S, S]."""
    x, y = generator.uniform(60, 160, 2)
    a, b = generator.uniform(25, 60, 2)
    down, across = np.mgrid[:SIDE, :SIDE]
    return ((across - x) / a) ** 2 + ((down - y) / b) ** 2 < 1


def box(generator: np.random.Generator) -> list[float]:
    x, y = generator.uniform(40, 130, 2)
    width, height = generator.uniform(25, 60, 2)
    return [float(x), float(y), float(x + width), float(y + height)]


def hull(edges: list[float]) -> list[float]:
    x0, y0, x1, y1 = edges
    return [x0, y0, x1, y0 + 8, x1 - 5, y1, x0 + 6, y1 - 4]


def opened(overview: Path) -> list[dict[str, float]]:
    """Milliseconds until the overview is there and until it can be used, of some openings."""
    from playwright.sync_api import sync_playwright

    found = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for _ in range(5):
            page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
            started = time.perf_counter()
            page.goto(overview.as_uri(), wait_until="domcontentloaded")
            there = time.perf_counter()
            page.locator("#search").fill("n0144")
            page.wait_for_function("document.querySelectorAll('.card:not([hidden])').length < 100")
            usable = time.perf_counter()
            page.locator("#search").fill("")
            page.select_option("#order", "accuracy up")
            page.wait_for_function("!location.hash.includes('find') && location.hash.includes('order')")
            ordered = time.perf_counter()
            found.append({"there": there - started, "usable": usable - started, "ordered": ordered - usable})
            page.context.close()
        browser.close()
    return found


def pages_opened(report: Path, screenshots: Path | None) -> dict[str, dict[str, float]]:
    """Of each page about the run: seconds until it is laid out, and elements."""
    from playwright.sync_api import sync_playwright

    found = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name in PAGES:
            page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
            started = time.perf_counter()
            page.goto((report / f"{name}.html").as_uri(), wait_until="domcontentloaded")
            page.evaluate("document.documentElement.scrollHeight")
            took = time.perf_counter() - started
            elements = page.evaluate("document.getElementsByTagName('*').length")
            found[name] = {"seconds": took, "elements": elements}
            for width in (390, 1280, 2560) if screenshots else ():
                page.set_viewport_size({"width": width, "height": 1000})
                page.screenshot(path=screenshots / f"{name}-{width}.png")
                assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{name} scrolls at {width}"
            page.context.close()
        browser.close()
    return found


def own_peak(reset: bool = False) -> float:
    """Largest resident memory of this process in megabytes, since it was last set back."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--summaries", type=int, default=5)
    parser.add_argument("--photographs", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--members", type=int, default=16, help="members of a summary that are drawn")
    parser.add_argument("--examples", type=int, default=8, help="photographs of a class that are drawn")
    parser.add_argument("--screenshots", type=Path, help="where screenshots of the pages go, at three widths")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    labels = list(imagenet_labels().wordnet_ids)[: arguments.classes]
    photographs = draw_photographs(folder, labels, arguments.photographs)
    values = {"output": str(folder / "run"), "data.images": str(folder / "photographs"), "model.weights": "random"}
    values |= {"ray.workers": arguments.workers, "data.held_out": 0, "data.test": 0}
    config = load_config(values=values)
    drawn = {"report.members": arguments.members, "report.examples": arguments.examples}
    shown = load_config(values=values | drawn)
    if not (folder / "run" / "tables" / "runs" / "manifest.json").exists():
        write_tables(config, photographs, arguments.summaries)
    seconds, peaks = [], []
    there = (folder / "run" / FOLDER / "index.html").exists()
    for _ in range(1 if there else 2):
        own_peak(reset=True)
        started = time.perf_counter()
        overview = Path(run_report(stored_run(config.output), shown, Console(width=110, file=io.StringIO())))
        seconds.append(time.perf_counter() - started)
        peaks.append(own_peak())
    rows = TableStore(config.output).read_all("runs").to_pylist()
    drawn = [row for row in rows if row["stage"] == "report"]
    files = [path for path in overview.parent.rglob("*") if path.is_file()]
    largest = max(path.stat().st_size for path in files if path.suffix == ".html")
    times = opened(overview)
    median = {name: statistics.median(one[name] for one in times) for name in times[0]}
    print(
        f"{arguments.classes} classes × {arguments.summaries} summaries × {arguments.photographs} photographs, "
        f"{arguments.members} members and {arguments.examples} examples drawn, {arguments.workers} workers, "
        f"{platform.machine()}, {os.cpu_count()} processors\n"
    )
    print("| | |\n|---|--:|")
    if not there:
        print(f"| draw the site (Ray's start included) | {seconds[0]:.0f} s |")
        print(f"| processor time in workers | {drawn[-2]['worker_seconds']:.0f} s |")
        print(f"| peak memory of a worker | {drawn[-2]['peak_memory'] / 1e6:.0f} MB |")
        print(f"| peak memory of the driver | {peaks[0]:.0f} MB |")
    print(f"| draw it again, nothing changed | {seconds[-1]:.0f} s |")
    print(f"| peak memory of the driver then | {peaks[-1]:.0f} MB |")
    print(f"| files | {len(files):,}, {sum(path.stat().st_size for path in files) / 1e6:.0f} MB |")
    print(f"| largest page | {largest / 1e3:.0f} kB |")
    print(f"| overview there, in Chromium | {median['there']:.2f} s |")
    print(f"| searched and filtered, from the start | {median['usable']:.2f} s |")
    print(f"| put in another order | {median['ordered']:.2f} s |")
    if arguments.screenshots:
        arguments.screenshots.mkdir(parents=True, exist_ok=True)
    print("\n| page | size | elements | laid out, in Chromium |\n|---|--:|--:|--:|")
    for name, told in pages_opened(overview.parent, arguments.screenshots).items():
        size = (overview.parent / f"{name}.html").stat().st_size
        print(f"| {name} | {size / 1e3:.0f} kB | {told['elements']:,} | {told['seconds']:.2f} s |")


if __name__ == "__main__":
    main()
