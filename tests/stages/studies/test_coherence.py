"""The study of coherence by a tagger, on pictures of four colors each, against loops over all pairs."""

import json
from itertools import combinations, product
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from visual_summaries.jobs.evaluate import build_parser
from visual_summaries.pipeline.commands.evaluate import PAPERS, check_studies, default_studies, papers_studies
from visual_summaries.pipeline.config import ConfigurationError, RunConfig, load_config
from visual_summaries.pipeline.data.decode import DecodeError
from visual_summaries.pipeline.models.classifier import Classifier
from visual_summaries.pipeline.models.preprocessing import Preprocessing
from visual_summaries.pipeline.report.evaluation import paper_tables
from visual_summaries.pipeline.runtime.units import Output, Unit
from visual_summaries.pipeline.stages.studies import STUDIES, coherence
from visual_summaries.pipeline.stages.studies.figures import Figure
from visual_summaries.pipeline.stages.studies.other_networks import Network
from visual_summaries.schemas import make_table

SIDE, TAGGERS_SIDE, CLASSES = 16, 8, 12
UNIT = Unit("drawn", (), payload=(Network("words", CLASSES, "digest", TAGGERS_SIDE, (), "softmax"),))
# Two classes are one tag, so that eleven are different; a tagger gives at most half of its classes' number.
IDS = tuple(f"n{max(1, number):08d}" for number in range(CLASSES))
TAGS = 5
QUARTERS = [(0, 0, 8, 8), (8, 0, 16, 8), (0, 8, 8, 16), (8, 8, 16, 16)]
# Image "gone" cannot be read; "wrong" is not explained. Cluster 7 was not kept, of 4 one member was not.
IMAGES = ("a", "b", "c", "d", "e", "gone", "wrong")
MEMBERS = [
    *((4, image, quarter, image != "e") for image, quarter in zip("abcde", (0, 1, 2, 3, 0), strict=True)),
    *((5, image, 2, True) for image in ("a", "c", "d", "gone")),
    *((6, image, 3, True) for image in ("b", "gone")),
    *((7, image, 1, True) for image in "ae"),
]


def tagger() -> Classifier:
    generator = torch.Generator().manual_seed(0)
    module = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, CLASSES))
    with torch.no_grad():
        for weights in module.parameters():
            weights.copy_(torch.randn(weights.shape, generator=generator))
        module[2].bias.fill_(3)
    preprocessing = Preprocessing(TAGGERS_SIDE, TAGGERS_SIDE)
    names = [f"word {number}" for number in range(CLASSES)]
    return Classifier(module, preprocessing, names, wordnet_ids=IDS, feature_layer="3")


class Worker:
    """Tables of one class, its pictures, and no run's network: nothing here may ask it."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self.setup = SimpleNamespace(preprocessing=Preprocessing(SIDE, SIDE))
        self.config = load_config(None, ["evaluation.taggers=[{name: words}]", f"evaluation.tagger_tags={TAGS}"])
        colors = np.random.default_rng(3).integers(0, 256, (len(IMAGES), 2, 2, 3), dtype=np.uint8)
        self.pictures = dict(zip(IMAGES, colors.repeat(8, axis=1).repeat(8, axis=2), strict=True))
        edges = [dict(zip(("x0", "y0", "x1", "y1"), quarter, strict=True)) for quarter in QUARTERS]
        self.tables = {
            "images": [{"image_id": one, "uri": f"{one}.png", "explained": one != "wrong"} for one in IMAGES],
            "members": [
                {"cluster": cluster, "image_id": image, "kept": kept, **edges[quarter]}
                for cluster, image, quarter, kept in MEMBERS
            ],
            "summaries": [
                {"cluster": cluster, "summary": 10 * cluster, "kept": cluster != 7} for cluster in (4, 5, 6, 7)
            ],
        }

    def read(self, unit: Unit, table: str, columns: list[str]) -> list[dict[str, Any]]:
        return [{name: row[name] for name in columns} for row in self.tables[table]]

    def photographs(self, unit: Unit) -> dict[str, dict[str, Any]]:
        return {row["image_id"]: row for row in self.tables["images"]}

    def analyzed_image(self, row: dict[str, Any]) -> Tensor:
        if row["image_id"] == "gone":
            raise DecodeError("gone")
        return torch.from_numpy(self.pictures[row["image_id"]]).permute(2, 0, 1)

    def model_input(self, images: list[Tensor]) -> Tensor:
        return torch.stack(images).float() / 255


@pytest.fixture(scope="module")
def worker() -> Worker:
    return Worker()


@pytest.fixture(scope="module")
def measured(worker: Worker) -> list[dict[str, Any]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coherence, "loaded", lambda model, seed, device, network: tagger())
        output = Output(rows=[])
        STUDIES["coherence"].measure(worker, UNIT, (), output)
    make_table("measurements", output.rows)
    # What cannot be read is told once, of many crops and of the whole.
    assert [(row["image_id"], row["reason"]) for row in output.errors] == [("gone", "gone")]
    return output.rows


def seen(worker: Worker, image: str, quarter: int | None) -> tuple[set[str], np.ndarray]:
    """The tags of one image or of its quarter, and the features, by hand."""
    x0, y0, x1, y1 = (0, 0, SIDE, SIDE) if quarter is None else QUARTERS[quarter]
    color = worker.pictures[image][y0:y1, x0:x1].reshape(-1, 3).mean(axis=0) / 255
    network = tagger()
    color = (color - network.preprocessing.mean) / network.preprocessing.std
    first, second = network.module[2], network.module[4]
    hidden = np.maximum(first.weight.numpy() @ color + first.bias.numpy(), 0)
    scores = second.weight.numpy() @ hidden + second.bias.numpy()
    tags: list[str] = []
    for number in np.argsort(-scores):
        if IDS[number] not in tags:
            tags.append(IDS[number])
    return set(tags[:TAGS]), hidden


def distance(what: str, first: tuple[set[str], np.ndarray], second: tuple[set[str], np.ndarray]) -> float:
    if what == "tags":
        return 1 - len(first[0] & second[0]) / len(first[0] | second[0])
    a, b = first[1], second[1]
    return float(1 - a @ b / np.sqrt((a @ a) * (b @ b)))


@pytest.mark.parametrize("what", ["tags", "features"])
def test_distances_are_those_of_all_pairs(worker: Worker, measured: list[dict[str, Any]], what: str) -> None:
    found = {(row["variant"], row["summary"]): row["value"] for row in measured}
    # Summary 60 has one readable member, and 70 was not kept.
    assert {summary for _, summary in found} == {40, 50}
    of_summary = {40: [("a", 0), ("b", 1), ("c", 2), ("d", 3)], 50: [("a", 2), ("c", 2), ("d", 2)]}
    wholes = {image: seen(worker, image, None) for image in "abcde"}
    crops = [(image, seen(worker, image, quarter)) for _, image, quarter, _ in MEMBERS if image != "gone"]
    for summary, members in of_summary.items():
        pairs = list(combinations(members, 2))
        own = np.mean([distance(what, wholes[a], wholes[b]) for (a, _), (b, _) in pairs])
        assert found[f"distance of {what} of whole images within the summary, by words", summary] == pytest.approx(
            own, abs=2e-3
        )
        own_crops = np.mean([distance(what, seen(worker, *a), seen(worker, *b)) for a, b in pairs])
        assert found[f"distance of {what} of crops within the summary, by words", summary] == pytest.approx(
            own_crops, abs=1e-5
        )
        # The mean over random subsets is that over all pairs of images, each image's crops being equally likely.
        chance = np.mean([distance(what, wholes[a], wholes[b]) for a, b in combinations("abcde", 2)])
        of_crops = np.mean(
            [
                np.mean([distance(what, x, y) for (i, x), (j, y) in product(crops, crops) if (i, j) == pair])
                for pair in combinations("abcde", 2)
            ]
        )
        for kind, expected, within, random in (
            ("whole images", chance, own, "random images of the class"),
            ("crops", of_crops, own_crops, "random members of the class"),
        ):
            value = found[f"distance of {what} of {kind} within {random}, by words", summary]
            assert value == pytest.approx(expected, abs=0.03)
            difference = found[f"distance of {what} of {kind}, random ones less the summary's, by words", summary]
            assert difference == pytest.approx(value - within, abs=2e-3)


def test_the_protocol_says_how_many_were_compared(measured: list[dict[str, Any]]) -> None:
    told = {(row["variant"], row["summary"]): json.loads(row["protocol"]) for row in measured}
    whole = told["distance of tags of whole images within the summary, by words", 40]
    assert (whole["members"], whole["whole images of the class"], whole["tags of each"]) == (4, 5, TAGS)
    assert told["distance of features of crops within the summary, by words", 50] == {
        "members": 3, "crops of the class": 11
    }  # fmt: skip


def config(*taggers: str) -> RunConfig:
    return load_config(None, ["model.name=demo", f"evaluation.taggers=[{', '.join(taggers)}]"])


def test_it_says_what_it_needs() -> None:
    with pytest.raises(ConfigurationError, match="--tagger"):
        check_studies(["coherence"], config())
    with pytest.raises(ConfigurationError, match="demo is the run's own network"):
        check_studies(["coherence"], config("{name: demo}"))
    other = "{name: 'torchvision:squeezenet1_1', weights: random}"
    with pytest.raises(ConfigurationError, match="is there twice"):
        check_studies(["coherence"], config(other, other))
    # Of other classes than the run's: a tagger only gives words.
    check_studies(["coherence"], config(other))
    assert "coherence" in default_studies(config(other)) and "coherence" not in default_studies(config())


def test_a_papers_studies_have_the_tagger_where_one_is_named() -> None:
    (_, _), (names, _) = PAPERS["visual-summaries"]
    assert papers_studies(names, config("{name: a}")) == (*names, "coherence")
    assert papers_studies(names, config()) == names
    assert papers_studies(("faithfulness",), config("{name: a}")) == ("faithfulness",)


def test_the_papers_table_has_a_tagger_each() -> None:
    variants = ("distance of tags of whole images within the summary, by a", "distance of tags within the summary")
    found = [
        Figure("net", "", "coherence" if number == 0 else "summaries", variant, "", "summaries", 3, 0.5, 0.4, 0.6, 0.1)
        for number, variant in enumerate(variants)
    ]
    text = paper_tables("visual-summaries", found)
    assert text.count("## ") == 2 and "whole images within the summary\\, by a\n" in text


def test_a_tagger_has_the_weights_behind_it(capsys) -> None:  # noqa: ANN001
    options = build_parser().parse_args(["--tagger", "a:b", "--tagger-weights", "w.pt", "--tagger", "c:d"])
    assert options.taggers == [{"name": "a:b", "weights": "w.pt"}, {"name": "c:d"}] and options.other_models is None
    with pytest.raises(SystemExit):
        build_parser().parse_args(["--tagger-weights", "w.pt"])
    assert "--tagger-weights FILE belongs behind the --tagger SPEC" in capsys.readouterr().err
