"""Explaining single photographs from Python: what is given, and what comes back."""

import base64
import doctest
import io
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import visual_summaries
from visual_summaries import (
    ClassifierError,
    ConfigurationError,
    DecodeError,
    Explanations,
    Preprocessing,
    explain,
    load_model,
)
from visual_summaries.pipeline.models.classifier import Classifier
from visual_summaries.surface import explaining

HOSTILE = "<img src=x onerror=alert(1)>\x1b[2J"


class Corner(nn.Module):
    """Two classes: how bright the top left quarter is, and nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(4.0))
        self.dropout = nn.Dropout(0.5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        half = images.shape[-1] // 2
        bright = self.weight * self.dropout(images)[..., :half, :half].mean(dim=(1, 2, 3))
        return torch.stack([bright, torch.zeros_like(bright)], dim=1)


SMALL = {"resize_side": 32, "crop_side": 32, "mean": (0.5,) * 3, "std": (0.5,) * 3}


@pytest.fixture(scope="module")
def demo() -> Classifier:
    return load_model("demo")


@pytest.fixture(scope="module")
def picture(photographs: Path) -> Path:
    return photographs / "saxophone" / "001.png"


def test_a_file_an_image_and_an_array_are_the_same(picture: Path, demo: Classifier) -> None:
    image = Image.open(picture)
    array = np.asarray(image.convert("RGB"))
    clear = image.convert("RGBA")
    from_file, *others = (explain(one, demo, "grad-cam") for one in (picture, str(picture), image, array, clear))
    for one in others:
        assert np.array_equal(one.image, from_file.image) and np.array_equal(one.map, from_file.map)
    assert from_file.image.shape == (128, 128, 3) and from_file.map.shape == (1, 128, 128)
    assert [one.source for one in others] == [str(picture), str(picture), None, None]


def test_images_are_decoded_as_files_are(picture: Path, demo: Classifier) -> None:
    """Transparent pixels are white, turned photographs upright, gray ones of three equal colors."""
    seen = Image.new("RGBA", (40, 20), (0, 0, 0, 0))
    assert (explain(seen, demo, "grad-cam").image == 255).all()
    turned = Image.new("RGB", (160, 128))
    turned.paste((255, 0, 0), (0, 0, 160, 64))
    turned.getexif()[0x0112] = 3
    found = explain(turned, demo, "grad-cam").image
    assert found[100, 64].tolist() == [255, 0, 0] and found[20, 64].tolist() == [0, 0, 0]
    gray = np.arange(128 * 128, dtype=np.uint8).reshape(128, 128)
    assert np.array_equal(explain(gray, demo, "grad-cam").image, np.stack([gray] * 3, axis=2))
    ink = Image.new("CMYK", (128, 128), (0, 255, 255, 0))
    assert explain(ink, demo, "grad-cam").image[0, 0].tolist() == [255, 0, 0]


def test_a_target_is_named_in_any_way(picture: Path, demo: Classifier) -> None:
    index = demo.class_names.index("butterfly")
    by_default, by_index, by_name = (
        explain(picture, demo, "grad-cam", target=one) for one in (None, index, "Butterfly")
    )
    assert by_default.target_name == by_default.prediction_name == "saxophone"
    assert by_index.target == by_name.target == index and by_name.prediction_name == "saxophone"
    assert by_index.score < 0.5 < by_default.score
    assert "predicted: saxophone" in repr(by_index) and "predicted" not in repr(by_default)
    both = explain([picture, picture], demo, "grad-cam", target=["butterfly", None])
    assert [one.target for one in both] == [index, by_default.target]
    with pytest.raises(ValueError, match="'xyz' is no class of demo; its classes: .*, saxophone, "):
        explain(picture, demo, "grad-cam", target="xyz")
    with pytest.raises(ValueError, match="'saxofone' is no class of demo; did you mean saxophone"):
        explain(picture, demo, "grad-cam", target="saxofone")
    with pytest.raises(ValueError, match=f"target {len(demo.class_names)}: demo has the classes 0 to "):
        explain(picture, demo, "grad-cam", target=len(demo.class_names))
    with pytest.raises(ValueError, match="1 targets for 2 photographs"):
        explain([picture, picture], demo, "grad-cam", target=["butterfly"])


def test_settings_reach_the_method(picture: Path, demo: Classifier) -> None:
    nested = explain(picture, demo, "occlusion", settings={"explain": {"occlusion": {"window": 96, "stride": 96}}})
    dotted = {"explain.occlusion.window": 96, "explain.occlusion.stride": 96, "regions.share": 0.9}
    flat = explain(picture, demo, "occlusion", settings=dotted)
    assert np.array_equal(nested.map, flat.map) and len(np.unique(flat.map)) <= 25
    assert nested.salient.mean() < flat.salient.mean()


def test_a_seed_draws_the_same_again(picture: Path, demo: Classifier) -> None:
    few = {"explain.rise.masks": 8}
    first, again, other = (
        explain(picture, demo, "rise", settings=few | {"seed": seed}).map for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_a_module_of_ones_own_stays_as_it_is(picture: Path) -> None:
    module = Corner().double().train()
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:16, :16] = 255
    found = explain(pixels, (module, SMALL), "gradient")
    assert found.target == 0 and found.salient[:16, :16].any() and not found.map[0, 16:, 16:].any()
    assert module.training and module.weight.requires_grad and module.weight.dtype == torch.float64
    named = load_model((module, Preprocessing(**SMALL)), class_names=["bright", HOSTILE])
    assert named.class_names == ("bright", HOSTILE) and named.name == "Corner"
    assert explain(pixels, named, "gradient", target="bright").target == 0
    with pytest.raises(ClassifierError, match="3 class names, but Corner has 2 classes"):
        load_model((module, SMALL), class_names=["a", "b", "c"])
    kept = load_model((module, SMALL), settings={"model.head": "sigmoid"})
    assert kept.independent and not named.independent


def test_it_draws_itself(picture: Path) -> None:
    named = load_model((Corner(), SMALL), class_names=[HOSTILE, "other"])
    found = explain([picture, np.asarray(Image.open(picture).convert("RGB"))], named, "gradient", target=0)
    drawn = found[0].picture(100)
    assert drawn.size == (3 * 100 + 2 * 8, 100)
    photograph = np.asarray(drawn)[:, :100].astype(int)
    expected = np.asarray(Image.fromarray(found[0].image).resize((100, 100), Image.Resampling.LANCZOS)).astype(int)
    assert np.array_equal(photograph, expected)
    assert Image.open(io.BytesIO(found[0]._repr_png_())).size == (3 * 224 + 2 * 8, 224)
    assert found[0].overlay().size == (32, 32)
    page = found._repr_html_()
    assert page.count("<img ") == page.count("<figcaption>") == 2
    assert "<img src=x" not in page and "\x1b" not in page + repr(found[0]) and "\\x1b[2J" in repr(found[0])
    data = re.search(r'src="data:image/png;base64,([^"]+)"', page).group(1)
    assert base64.b64decode(data) == found[0]._repr_png_()
    assert isinstance(found[:1], Explanations) and len(found[:1]) == 1


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"images": "nowhere.jpg"}, DecodeError, "nowhere.jpg: the file cannot be read"),
        ({"images": np.zeros((8, 8, 4), np.uint8)}, ValueError, r"an array must be uint8 .* uint8 \[8, 8, 4\]"),
        ({"images": np.zeros((8, 8, 3))}, ValueError, r"this one is float64 \[8, 8, 3\]"),
        ({"images": [3]}, TypeError, "a photograph is a path, a PIL image or an array .*, not int"),
        ({"method": "gradcam"}, ConfigurationError, "unknown explainer.*did you mean grad-cam"),
        ({"settings": {"explain.presett": "fast"}}, ConfigurationError, "did you mean explain.preset"),
        ({"settings": {"data.test": 0}}, ConfigurationError, "data.test means nothing for a photograph by itself"),
        ({"settings": {"explain.target": "label"}}, ConfigurationError, "explain.target is about a whole run"),
        ({"settings": {"explain.explainer": "rise"}}, ConfigurationError, "explain.explainer is given twice"),
        ({"settings": {"model.head": "sigmoid"}}, ConfigurationError, "this model has been loaded already"),
        ({"model": "dem"}, ClassifierError, "did you mean demo"),
        ({"model": nn.Linear}, TypeError, "a model is a text as --model takes.* not type"),
        ({"model": (nn.Flatten(), 3)}, TypeError, "not tuple of Flatten, int"),
        ({"target": 1.5}, TypeError, "target is a class's index or name, not float"),
    ],
)
def test_mistakes_are_told(given: dict, error: type[Exception], said: str, demo: Classifier, picture: Path) -> None:
    arguments = {"images": picture, "model": demo, "method": "grad-cam"} | given
    with pytest.raises(error, match=said):
        explain(arguments.pop("images"), **arguments)


def test_what_is_named_is_there() -> None:
    for name in visual_summaries.__all__:
        value = getattr(visual_summaries, name)
        assert value.__name__ == name and value.__doc__, name
    assert set(visual_summaries.__all__) <= set(dir(visual_summaries))
    assert set(visual_summaries._PLACES) == set(visual_summaries.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'explainn'"):
        _ = visual_summaries.explainn


def test_the_examples_of_the_docstrings_are_true() -> None:
    failed, tried = doctest.testmod(explaining)
    assert tried == 4 and not failed
