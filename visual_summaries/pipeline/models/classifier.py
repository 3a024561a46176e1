"""A classifier: a frozen network together with its preprocessing and its class names.

Shapes: B images, K classes, D features, H, W height and width in pixels.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from visual_summaries.pipeline.models.errors import ClassifierError
from visual_summaries.pipeline.models.heads import LOGITS, Head
from visual_summaries.pipeline.models.preprocessing import Preprocessing, normalized

__all__ = ["Classifier", "ClassifierError", "weights_digest"]


class Classifier:
    """A network that classifies images, in evaluation mode, its parameters frozen.

    Args:
        module: takes normalized images [B, C, H, W], float32, and returns what `head` says, of which `logits` makes
            logits [B, K]. It is switched to evaluation mode and its parameters stop requiring gradients.
        preprocessing: how images are brought to the network's input size, and the mean and standard deviation
            that `logits` applies.
        class_names: K names, in the order of the logits.
        wordnet_ids: K WordNet ids ("n01440764"), where the classes have them.
        name: for people: reports, tables.
        feature_layer: the name of the submodule whose output is `features`; found by itself when None.
        head: what the network's outputs mean; by default logits of classes that exclude each other.

    Attributes:
        input_size: side of the square input, in pixels.
        weights_digest: SHA-256 of the weights when the classifier was made (see `weights_digest`),
        hexadecimal.
    """

    def __init__(
        self,
        module: nn.Module,
        preprocessing: Preprocessing,
        class_names: tuple[str, ...] | list[str],
        *,
        wordnet_ids: tuple[str, ...] | list[str] | None = None,
        name: str = "classifier",
        feature_layer: str | None = None,
        head: Head = LOGITS,
    ) -> None:
        self.module = module.eval().requires_grad_(False)
        self.preprocessing = preprocessing
        self.class_names = tuple(class_names)
        self.wordnet_ids = None if wordnet_ids is None else tuple(wordnet_ids)
        self.name = name
        self.feature_layer = feature_layer
        self.head = head
        self.weights_digest = weights_digest(module.state_dict())
        if self.wordnet_ids is not None and len(self.wordnet_ids) != len(self.class_names):
            raise ClassifierError(
                f"{name}: {len(self.class_names)} class names but {len(self.wordnet_ids)} WordNet ids"
            )
        if feature_layer is not None and feature_layer not in dict(module.named_modules()):
            raise ClassifierError(f"{name} has no layer {feature_layer!r}; see module.named_modules()")
        self._features_from: tuple[str, bool] | None = None

    def __repr__(self) -> str:
        return f"Classifier({self.name}, {len(self.class_names)} classes, {self.input_size} px)"

    @property
    def input_size(self) -> int:
        return self.preprocessing.crop_side

    @property
    def independent(self) -> bool:
        """Whether an image may be of several classes: a class's score is then the sigmoid of its logit."""
        return self.head.independent

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        parameter = next(self.module.parameters(), None)
        return torch.device("cpu") if parameter is None else parameter.device

    def to(self, device: torch.device | str) -> Classifier:
        """Moves the network; returns this same classifier."""
        self.module.to(device)
        return self

    def normalized(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] in [0, 1] → (values − mean) / std, differentiable, of the network's channels."""
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            raise ValueError(
                f"images must be float [B, 3, H, W] with values in [0, 1], not {images.dtype} {list(images.shape)}"
            )
        mean, std = (
            images.new_tensor(values).view(1, -1, 1, 1) for values in (self.preprocessing.mean, self.preprocessing.std)
        )
        return self.preprocessing.ordered(normalized(images, mean, std))

    def logits(self, images: Tensor) -> Tensor:
        """Class scores before the softmax, or before the sigmoids of classes that are `independent`.

        Args:
            images: [B, 3, H, W], float, RGB in [0, 1], on the network's device.

        Returns:
            [B, K], differentiable with respect to the images.

        Raises:
            ValueError: images of another shape or of integers.
            ClassifierError: the network returns something other than [B, K].
        """
        logits = self.head.logits(self.module, self.normalized(images), self.name)
        if logits.shape != (len(images), len(self.class_names)):
            raise ClassifierError(
                f"{self.name} returns {list(logits.shape)} for {len(images)} images and "
                f"{len(self.class_names)} classes; expected [{len(images)}, {len(self.class_names)}]"
            )
        return logits

    def features(self, images: Tensor) -> Tensor:
        """The network's own description of whole images (visual summaries paper §4.4).

        The output (before the nonlinearity) of the first fully connected layer of the network's head; where
        the only fully connected layer is the one that gives the logits, or there is none, that last layer's
        input, averaged over its positions. `feature_layer` names another layer, whose output is averaged
        likewise.

        Args:
            images: as for `logits`.

        Returns:
            [B, D].

        Raises:
            ClassifierError: no such layer can be found; `feature_layer` is then the way out.
        """
        if self._features_from is None:
            named = self.feature_layer
            self._features_from = (named, False) if named else self._find_feature_layer()
        layer_name, from_input = self._features_from
        captured: list[Tensor] = []

        def capture(_module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            # A copy: the ReLU that follows may work in place.
            captured.append((inputs[0] if from_input else output).clone())

        handle = self.module.get_submodule(layer_name).register_forward_hook(capture)
        try:
            self.module(self.normalized(images))
        finally:
            handle.remove()
        if not captured:
            raise ClassifierError(f"{self.name}: the network never calls its layer {layer_name!r}")
        features = captured[-1]
        if features.ndim not in (2, 3, 4):
            raise ClassifierError(
                f"{self.name}: layer {layer_name!r} gives {list(features.shape)}, from which no features [B, "
                "D] can be made; name another with feature_layer"
            )
        if features.ndim == 2:
            return features
        # Tokens [B, N, D], and whatever a fully connected layer sees, hold the features in the last
        # dimension.
        features_last = features.ndim == 3 or isinstance(self.module.get_submodule(layer_name), nn.Linear)
        return features.flatten(1, -2).mean(dim=1) if features_last else features.mean(dim=(2, 3))

    def _find_feature_layer(self) -> tuple[str, bool]:
        """(layer, whether its input is meant): found by running the network once on a black image."""
        calls: list[tuple[str, nn.Module, int]] = []
        handles = [
            layer.register_forward_hook(
                lambda module, _inputs, output, name=name: calls.append((name, module, output.ndim))
            )
            for name, layer in self.module.named_modules()
            if isinstance(layer, nn.Linear | _ConvNd)
        ]
        try:
            with torch.no_grad():
                side = self.input_size
                self.module(self.normalized(torch.zeros(1, 3, side, side, device=self.device)))
        finally:
            for handle in handles:
                handle.remove()
        last = calls[-1][1] if calls else None
        outputs = getattr(last, "out_features", getattr(last, "out_channels", None))
        if outputs != self.head.outputs(len(self.class_names)):
            found = f"the last is {calls[-1][0]!r}" if calls else "there is none"
            raise ClassifierError(
                f"{self.name}: no fully connected or convolutional layer gives the {len(self.class_names)} "
                f"logits ({found}), so the layer for features cannot be found; name one with feature_layer"
            )
        # The head: the fully connected layers after the last layer that still sees positions. Those inside
        # squeeze-and-excitation or transformer blocks are followed by layers with positions.
        head: list[str] = []
        for name, layer, dimensions in reversed(calls):
            if not isinstance(layer, nn.Linear) or dimensions != 2:
                break
            head.append(name)
        return (head[-1], False) if len(head) > 1 else (calls[-1][0], True)


def weights_digest(state: Mapping[str, Any]) -> str:
    """SHA-256 (hexadecimal) over name, dtype, shape and bytes of every entry of a state dict, sorted by name.

    The device and the order of the entries do not matter.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name]
        if isinstance(value, Tensor):
            # Strided anew: of one number, torch takes any stride for contiguous, and does not view it as bytes.
            numbers = value.detach().cpu().contiguous().as_strided((value.numel(),), (1,))
            content = numbers.view(torch.uint8).numpy()
            digest.update(f"{name}|{value.dtype}|{list(value.shape)}|".encode())
            digest.update(content)
        else:
            digest.update(f"{name}|{type(value).__name__}|".encode())
            digest.update(pickle.dumps(value, protocol=4))
    return digest.hexdigest()
