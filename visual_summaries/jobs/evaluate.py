"""How far to trust maps and summaries: figures of finished runs, or a paper's experiments, as tables and plots.

    visual-summaries evaluate --run runs/mine --run runs/other
    visual-summaries evaluate --run runs/mine --other-model torchvision:mobilenet_v2 --other-weights mobile.safetensors
    visual-summaries evaluate --run runs/mine --tagger timm:convnext_tiny --tagger-weights convnext_tiny.safetensors
    visual-summaries evaluate --paper fgvis --images photographs/ --model torchvision:resnet50 --weights r50.safetensors
"""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from visual_summaries.jobs.arguments import SHORTCUTS, run_job, run_parser, settings_given
from visual_summaries.jobs.command import one_of
from visual_summaries.pipeline.commands.options import NETWORKS

if TYPE_CHECKING:
    from rich.console import Console

    from visual_summaries.pipeline.config import RunConfig

# `pipeline.commands.evaluate` knows how; importing it takes the seconds that --help should not.
PAPERS = ("fgvis", "glas", "feature-cam", "visual-summaries")
SHOWN = {
    "evaluation.other_models": "a network with the same classes that is shown what the maps say",
    "evaluation.taggers": "a network that tags photographs and members, not the one that is explained",
}


def build_parser() -> argparse.ArgumentParser:
    parser = run_parser(
        "evaluate", "Measure a run's maps and summaries, or run a paper's experiments; resumes what is there."
    )
    parser.add_argument(
        "--run",
        action="append",
        metavar="FOLDER",
        help="a finished run, with its own configuration; settings may change what changes no stored table; can be "
        "repeated",
    )
    parser.add_argument(
        "--paper",
        type=one_of("paper", PAPERS),
        metavar="NAME",
        help=f"that paper's experiments, beside its published figures: {', '.join(PAPERS)}",
    )
    parser.add_argument(
        "--study", action="append", metavar="NAME", help="a study; can be repeated; default: all that can be done"
    )
    for setting, (network, weights) in NETWORKS.items():
        further = {"action": FurtherNetwork, "dest": setting.rpartition(".")[2]}
        shown = f"{SHOWN[setting]}; can be repeated ({setting})"
        parser.add_argument(network, metavar="SPEC", help=shown, **further)
        shown = f"weights of the {network} before it: a file, enum name or random"
        parser.add_argument(weights, metavar="FILE", help=shown, **further)
    return parser


class FurtherNetwork(argparse.Action):
    """--other-model and --tagger begin another network, their --…-weights give the last one its weights."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        models = [dict(model) for model in getattr(namespace, self.dest) or ()]
        if self.metavar == "SPEC":
            models.append({"name": values})
        elif models and "weights" not in models[-1]:
            models[-1]["weights"] = values
        else:
            network, weights = NETWORKS[SHORTCUTS[self.dest]]
            parser.error(f"{weights} FILE belongs behind the {network} SPEC whose weights they are")
        setattr(namespace, self.dest, models)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job; returns the exit status, as `run_command` says it."""
    return run_job(build_parser(), arguments, _evaluate)


def _evaluate(options: argparse.Namespace, config: "RunConfig", console: "Console") -> None:
    from visual_summaries.pipeline.commands.evaluate import run_evaluation
    from visual_summaries.pipeline.commands.stored import EVALUATE, reopened, stored_run

    given = settings_given(options) if options.run else {}
    runs = [reopened(stored_run(folder), given, EVALUATE, runs_network=True) for folder in options.run or ()]
    for path in run_evaluation(runs or [config], console, options.paper, options.study or ()):
        console.print(f"Tables: {path}", markup=False, highlight=False, soft_wrap=True)
    for folder in () if options.paper else options.run or ():
        console.print(f"On the report: visual-summaries report --run {folder}", markup=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
