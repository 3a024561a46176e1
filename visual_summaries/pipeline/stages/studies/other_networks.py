"""Networks that an experiment asks besides the run's own: what the driver knows of them, and a worker's own copies."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

from visual_summaries.pipeline.config import RunConfig
from visual_summaries.pipeline.models.answers import answers
from visual_summaries.pipeline.models.classifier import Classifier
from visual_summaries.pipeline.models.heads import independent
from visual_summaries.pipeline.settings import ModelSettings
from visual_summaries.pipeline.stages.classifier import classifier_of
from visual_summaries.pipeline.stages.context import check_same
from visual_summaries.pipeline.stages.networks import network_name
from visual_summaries.pipeline.store.atomic import write_atomically


@dataclass(frozen=True)
class Network:
    """What the driver knows of a network: its name, number of classes, weights, side of its input, answers and head."""

    name: str
    classes: int
    digest: str
    side: int
    answers: tuple[float, ...]
    head: str


@lru_cache
def network_of(model: ModelSettings, seed: int) -> Network:
    """What the driver knows of the network that the settings name."""
    found = classifier_of(RunConfig(model=model, seed=seed))
    own = tuple(answers(found).tolist())
    return Network(
        found.name, len(found.class_names), found.weights_digest, found.input_size, own, found.head.kind
    )


def networks_of(config: RunConfig, others: Sequence[ModelSettings]) -> list[Network]:
    """The run's own network and the others, in order."""
    return [network_of(model, config.seed) for model in (config.model, *others)]


def network_settings(config: RunConfig, networks: Sequence[Network]) -> list[Any]:
    """What figures of networks depend on, as JSON values; those that are new are written down in the run's folder."""
    return [
        [
            network.name,
            network.classes,
            network.side,
            network_name(config.output.path, network.digest, network.answers, remember=write_atomically),
            *([network.head] if independent(network.head) else []),
        ]
        for network in networks
    ]


@lru_cache
def loaded(model: ModelSettings, seed: int, device: torch.device, network: Network) -> Classifier:
    """The network on a worker's device, loaded and compared with the driver's once per worker.

    Raises:
        WorkerUnfit: it is another one here.
    """
    classifier = classifier_of(RunConfig(model=model, seed=seed))
    check_same(classifier, network.name, network.digest, network.answers, network.head)
    return classifier.to(device)
