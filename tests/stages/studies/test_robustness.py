"""The studies of maps that are made again, on a worker of the test's own, and what they need."""

from collections.abc import Iterable, Iterator
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from visual_summaries.jobs.evaluate import build_parser
from visual_summaries.pipeline.commands.evaluate import check_studies, default_studies
from visual_summaries.pipeline.config import ConfigurationError, RunConfig, load_config
from visual_summaries.pipeline.evaluate.map_stability import CHANGES
from visual_summaries.pipeline.explain.engine import Item, explain_stream
from visual_summaries.pipeline.explain.registry import make_explainer
from visual_summaries.pipeline.models.loading import load_classifier
from visual_summaries.pipeline.models.preparation import PreparedClassifier
from visual_summaries.pipeline.report.robustness_plots import (
    draw_stability,
    draw_transfer,
    stability_figures,
    transfer_figures,
)
from visual_summaries.pipeline.runtime.units import Output, Unit
from visual_summaries.pipeline.stages.explain import image_generator, own_settings
from visual_summaries.pipeline.stages.studies import STUDIES, robustness
from visual_summaries.pipeline.stages.studies.figures import Figure
from visual_summaries.schemas import make_table

MARGIN = 2  # 3 px of 224 are 2 of 128


class Worker:
    """Photographs wider than what the demo's network sees, by id, and the maps that are given."""

    device = torch.device("cpu")

    def __init__(self, photographs: dict[str, np.ndarray], config: RunConfig) -> None:
        self.classifier = load_classifier("demo", resize_side=150, crop_side=128)
        self.prepared_classifier = PreparedClassifier(self.classifier)
        self.step = lambda: None
        self.setup = SimpleNamespace(preprocessing=self.classifier.preprocessing)
        self.given, self.config, self.advanced = photographs, config, 0
        self.maps: list[dict] = []

    def read(self, unit: Unit, table: str, columns: list[str]) -> list[dict]:
        return self.maps

    def photographs(self, unit: Unit) -> dict[str, dict]:
        return {image_id: {"image_id": image_id, "uri": f"{image_id}.png"} for image_id in self.given}

    def analyzed_image(self, row: dict, margin: int = 0) -> Tensor:
        return self.setup.preprocessing.analyzed_image(self.given[row["image_id"]], margin)

    def advance(self, unit: Unit, images: int = 1) -> None:
        self.advanced += images


def explained(worker: Worker, image: Tensor, target: int, seed: int, image_id: str) -> np.ndarray:
    """A map `[S,S]` uint8 of one image by itself."""
    settings = worker.config.explain
    explainer = make_explainer(settings.explainer, *own_settings(settings))
    generators = [image_generator(seed, image_id, worker.device)]
    found = explainer.explain(worker.prepared_classifier, image[None], torch.tensor([target]), generators)
    return found.saliency[0, 0].mul(255).round().byte().numpy()


@pytest.mark.parametrize("explainer", ["grad-cam", "rise"])
def test_maps_are_made_again_of_the_changed_photographs(explainer: str, monkeypatch) -> None:  # noqa: ANN001
    shown: dict[tuple[str, str], Tensor] = {}

    def watched(own: object, network: object, items: Iterable[Item], *settings: object) -> Iterator:
        def noted() -> Iterator[Item]:
            for item in items:
                shown[item.key] = item.image
                yield item

        return explain_stream(own, network, noted(), *settings)

    monkeypatch.setattr(robustness, "explain_stream", watched)
    generator = np.random.default_rng(0)
    photographs = {
        f"image {number}": (
            np.kron(generator.integers(0, 200, (20, 26, 3)), np.ones((10, 10, 1)))
            + generator.integers(56, size=(200, 260, 3))
        ).astype(np.uint8)
        for number in range(5)
    }
    settings = [f"explain.explainer={explainer}", "explain.rise.masks=60", "seed=4", "evaluation.stability_images=3"]
    worker = Worker(photographs, load_config(None, settings))
    for image_id in photographs:
        image = worker.analyzed_image({"image_id": image_id}).float() / 255
        stored = explained(worker, image, 1, 4, image_id)
        row = {"image_id": image_id, "target": 1, "saliency": stored.tobytes(), "saliency_shape": [1, 128, 128]}
        worker.maps.append(row)
    unit, output = Unit("label", (), name="unit"), Output(rows=[])
    STUDIES["map stability"].measure(worker, unit, (), output)
    make_table("measurements", output.rows)
    found = {(row["image_id"], row["variant"]): row["value"] for row in output.rows}
    chosen = {image_id for image_id, _ in found}
    assert len(chosen) == worker.advanced == 3 and not output.errors
    assert len(found) == 3 * 2 * len(CHANGES)
    own = {row["image_id"]: np.frombuffer(row["saliency"], np.uint8).reshape(128, 128) for row in worker.maps}
    whole = np.s_[:, :]
    for image_id in chosen:
        wide = worker.setup.preprocessing.analyzed_image(photographs[image_id], 10).float() / 255
        inside = wide[:, 10:-10, 10:-10]
        # Further to the left and above: the picture moves to the right and downwards.
        moved = wide[:, 10 - MARGIN : -10 - MARGIN, 10 - MARGIN : -10 - MARGIN]
        cases = {
            "shift of 3 px": (moved, 4, np.s_[MARGIN:, MARGIN:], np.s_[:-MARGIN, :-MARGIN]),
            "horizontal flip": (inside.flip(-1), 4, np.s_[:, ::-1], whole),
            "last bit": (inside, 4, whole, whole),
            "another seed": (inside, 5, whole, whole),
        }
        # The pixels of the photograph beside the square, where it has them.
        assert torch.equal(shown[image_id, "shift of 3 px"], moved)
        assert torch.equal(shown[image_id, "JPEG quality 90"], CHANGES["JPEG quality 90"].apply(inside))
        for name, (image, seed, of_changed, of_own) in cases.items():
            again = explained(worker, image, 1, seed, image_id)
            a, b = ((m / 255 > max(0, np.quantile(m / 255, 0.9))) for m in (own[image_id], again))
            a, b = a[of_own], b[of_changed]
            assert found[image_id, f"overlap, {name}"] == pytest.approx((a & b).sum() / (a | b).sum(), abs=0.02)
            ranks = scipy.stats.spearmanr(own[image_id][of_own].ravel(), again[of_changed].ravel()).statistic
            assert found[image_id, f"rank correlation, {name}"] == pytest.approx(ranks, abs=0.01)
        assert (found[image_id, "overlap, another seed"] > 0.98) == (explainer == "grad-cam")


def test_a_map_that_is_not_finite_is_told_and_not_compared() -> None:
    worker = Worker({"a": np.full((150, 150, 3), 90, np.uint8)}, load_config(None, ["explain.explainer=grad-cam"]))
    zeros = bytes(128 * 128)
    worker.maps = [{"image_id": "a", "target": 1, "saliency": zeros, "saliency_shape": [1, 128, 128]}]
    with torch.no_grad():
        worker.prepared_classifier.module.output.weight.fill_(torch.nan)
    output = Output(rows=[])
    STUDIES["map stability"].measure(worker, Unit("label", (), name="unit"), (), output)
    assert not output.rows and len(output.errors) == len(CHANGES) and worker.advanced == 1
    assert all("not finite" in row["reason"] and row["uri"] == "a.png" for row in output.errors)


def test_transfer_says_what_it_needs() -> None:
    def config(*others: str) -> RunConfig:
        return load_config(None, ["model.name=demo", f"evaluation.other_models=[{', '.join(others)}]"])

    with pytest.raises(ConfigurationError, match="--other-model"):
        check_studies(["transfer"], config())
    with pytest.raises(ConfigurationError, match="knows 1000 classes, demo .*by their number"):
        check_studies(["transfer"], config("{name: 'torchvision:squeezenet1_1', weights: random}"))
    with pytest.raises(ConfigurationError, match="demo is there twice, or is the run's own"):
        check_studies(["transfer"], config("{name: demo}"))
    assert "transfer" not in default_studies(config()) and "transfer" in default_studies(config("{name: demo}"))


def test_each_other_model_has_the_weights_behind_it(capsys) -> None:  # noqa: ANN001
    given = ["--other-model", "a:b", "--other-weights", "w.pt", "seed=3", "--other-model", "c:d"]
    options = build_parser().parse_intermixed_args(given)
    assert options.other_models == [{"name": "a:b", "weights": "w.pt"}, {"name": "c:d"}]
    assert options.overrides == ["seed=3"] and build_parser().parse_args([]).other_models is None
    for wrong in (given[2:], [*given[:4], "--other-weights", "v.pt"]):
        with pytest.raises(SystemExit):
            build_parser().parse_intermixed_args(wrong)
        assert "belongs behind the --other-model" in capsys.readouterr().err


def figure(study: str, variant: str, mean: float, explainer: str = "crisp") -> Figure:
    return Figure("net", explainer, study, variant, "", "images", 9, mean, mean - 0.1, mean + 0.05, 0.1)


def test_pictures_show_each_change_and_each_network() -> None:
    from matplotlib.figure import Figure as Canvas

    found = [
        figure("map stability", "overlap, last bit", 0.7),
        figure("map stability", "overlap, horizontal flip", 0.4),
        figure("map stability", "overlap, last bit", 0.9, "rise"),
        figure("map stability", "rank correlation, last bit", 0.2),
        figure("transfer", "drop on a $net$", 0.8),
        figure("transfer", "drop on a $net$, another image's map", 0.3),
        figure("transfer", "drop on a $net$, beyond another image's map", 0.5),
    ]
    canvas = Canvas()
    first, second = canvas.subplots(1, 2)
    draw_stability(first, stability_figures(found))
    draw_transfer(second, transfer_figures(found))
    canvas.canvas.draw()
    assert [label.get_text() for label in first.get_yticklabels()] == ["last bit", "horizontal flip"]
    points = [[list(line.get_xdata()) for line in axes.containers[number].lines[:1]] for axes, number in
              ((first, 0), (first, 1), (second, 0), (second, 1))]
    assert points == [[[0.7, 0.4]], [[0.9]], [[0.8]], [[0.3]]]
    (segment, _) = first.containers[0].lines[2][0].get_segments()
    np.testing.assert_allclose(segment[:, 0], [0.6, 0.75])
    assert [label.get_text() for label in second.get_yticklabels()] == ["a $net$"]
    labels = [text.get_text() for text in second.get_legend().get_texts()]
    assert labels == ["crisp", "crisp, another image's map"]
