"""Before a run with FGVis it is said what its filter catches of the network."""

import pytest
import torch
from torch import Tensor, nn

from visual_summaries.pipeline.config import load_config
from visual_summaries.pipeline.models.classifier import Classifier, ClassifierError
from visual_summaries.pipeline.models.preprocessing import Preprocessing
from visual_summaries.pipeline.stages.filtered import filter_notes

FGVIS = load_config(values={"explain.explainer": "fgvis"})


class Small(nn.Module):
    """Two rectifiers, one of them by hand, and a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.second(self.first(images).relu())
        maps = torch.where(maps > 0.1, maps, 0)
        return self.head(maps.mean(dim=(2, 3)).sigmoid())


def classifier(module: nn.Module) -> Classifier:
    return Classifier(module, Preprocessing(crop_side=8, resize_side=8), ("a", "b"), name="small")


def test_the_line_counts_nonlinearities_by_kind() -> None:
    (line,) = filter_notes(FGVIS, classifier(Small()))
    assert line == "FGVis filters the gradients of 3 nonlinearities in small: 1 × relu, 1 × where, 1 × sigmoid"
    (line,) = filter_notes(FGVIS, classifier(nn.Sequential(nn.Conv2d(3, 2, 8), nn.ReLU(), nn.Flatten())))
    assert line.endswith("of 1 nonlinearity in small: 1 × relu")
    (line,) = filter_notes(FGVIS, classifier(nn.Sequential(nn.Conv2d(3, 2, 8), nn.Flatten())))
    assert "filters nothing" in line


def test_nothing_is_said_of_other_explainers() -> None:
    assert filter_notes(load_config(values={"explain.explainer": "grad-cam"}), classifier(Small())) == []


def test_a_network_whose_nonlinearities_are_hidden_is_refused_before_the_run() -> None:
    hidden = nn.Sequential(nn.Flatten(), torch.jit.script(nn.Sequential(nn.Linear(192, 4), nn.ReLU(), nn.Linear(4, 2))))
    with pytest.raises(ClassifierError, match="cannot be seen"):
        filter_notes(FGVIS, classifier(hidden))
