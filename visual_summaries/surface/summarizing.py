"""The main job from Python: the same as `visual-summaries summarize`."""

import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console

from visual_summaries.pipeline.commands.outcome import print_outcome
from visual_summaries.pipeline.commands.summarize import run_pipeline
from visual_summaries.pipeline.config import ConfigurationError
from visual_summaries.surface.given import configured
from visual_summaries.surface.runs import Run, open_run

PLAIN_WIDTH = 110


def summarize(
    images: str | os.PathLike | None,
    model: str,
    output: str | os.PathLike,
    *,
    weights: Any = None,
    settings: Mapping[str, Any] | None = None,
    quiet: bool = False,
) -> Run:
    """Explain a classifier over a whole data set: maps, visual summaries, tables and a report in a folder.

    The same as `visual-summaries summarize` on the command line: what is complete in the folder is not computed again,
    and what was interrupted goes on.

    Args:
        images: a folder `<class>/**/*.jpg`, .tar or .parquet files; "demo" draws the built-in set. None where
            settings name a list of them, {"data.manifest": "list.csv"}.
        model: "torchvision:resnet50", "timm:…", "hf:…", "module:function" or "demo". Other processes load it, too, so
            that it has to be a text.
        output: the folder, or the address in a bucket, of tables and report.
        weights: a file, the name of a library's weights, "pretrained" or "random".
        settings: all others, such as {"explain.explainer": "grad-cam", "data.classes": ["saxophone"]};
            `visual-summaries summarize --print-config` lists them.
        quiet: print nothing.

    Raises:
        ConfigurationError, ClassifierError, CatalogError: settings, model or photographs are wrong.
        RunFailed: more photographs failed than `error_tolerance` allows.
        StoreError, PoolError, ClusterError: the folder, the workers or the cluster fail; the same call goes on.

    Example:
        >>> run = summarize("demo", "demo", "runs/demo", settings={"summaries.price": 0.2})
        >>> run.report
    """
    if not isinstance(model, str):
        raise ConfigurationError(
            "a run's workers are other processes, which load the model by a text: torchvision:<name>, timm:<name>, "
            "hf:<repository or folder>, demo, or module:function with a function that makes it; not "
            f"{type(model).__name__}"
        )
    given = {"data.images": images, "model.name": model, "model.weights": weights, "output": output}
    config = configured(settings, given)
    console = _console(quiet)
    with _signals_as_before():
        run_pipeline(config, console)
    print_outcome(config, console)
    return open_run(config.output)


def _console(quiet: bool) -> Console:
    """Bars in a terminal, plain lines elsewhere; notebooks say of themselves that they are terminals."""
    console = Console(quiet=quiet)
    if console.is_terminal and not console.is_jupyter:
        return console
    return Console(file=sys.stdout, force_jupyter=False, force_terminal=False, width=PLAIN_WIDTH, quiet=quiet)


@contextmanager
def _signals_as_before() -> Iterator[None]:
    """A run takes SIGTERM for Ctrl-C, which the rest of this process need not."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
