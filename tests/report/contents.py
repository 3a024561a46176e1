"""Made-up contents of a report, and its pages read back with the standard library's HTML parser."""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
from PIL import Image

from visual_summaries.pipeline.report import class_pages
from visual_summaries.pipeline.report.content import (
    ClassContent,
    ExampleContent,
    IndexContent,
    MemberContent,
    RegionContent,
    SummaryContent,
    ToldContent,
)

EVIL_LABEL = "<script>alert(1)</script>\"&'"
EVIL_URI = '"><img src=x onerror=alert(1)>.jpg'
EMPTY_ELEMENTS = {"meta", "link", "img", "br", "input"}


class Page(HTMLParser):
    """Elements with their attributes, and the text, of a page; complains when elements are not closed in order."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.path = path
        self.source = path.read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.folded_text = ""
        self.open: list[str] = []
        self.feed(self.source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes) -> None:
        assert len(attributes) == len(dict(attributes))
        self.elements.append((tag, dict(attributes)))
        if tag not in EMPTY_ELEMENTS:
            self.open.append(tag)

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        if self.open and self.open[-1] in ("script", "style"):
            return
        self.text += data
        if "details" in self.open:
            self.folded_text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def member(seed: int = 0, uri: str | None = None, **changes) -> MemberContent:
    generator = np.random.default_rng(seed)
    mask = np.zeros((32, 32), bool)
    mask[6:22, 8:26] = True
    values = dict(
        image=generator.integers(0, 256, (32, 32, 3), dtype=np.uint8),
        regions_mask=mask,
        hull=np.array([[10.0, 8.0], [20.0, 8.0], [20.0, 18.0], [10.0, 18.0]]),
        box=(10, 8, 20, 18),
        image_id=f"{seed:064x}",
        uri=uri or f"/photographs/robin/{seed:04d}.jpg",
        similarity=1.25,
        ssim=0.31,
        drop=0.8,
    )
    return MemberContent(**(values | changes))


def summary(number: int = 1, members: int = 3, **changes) -> SummaryContent:
    contents = [member(10 * number + place, exemplar=place == 0) for place in range(members)]
    values = dict(
        number=number,
        kept=True,
        reason=None,
        members=contents,
        members_kept=members,
        members_before=members,
        support=members / 40,
    )
    return SummaryContent(**(values | changes))


def example(uri: str = "/photographs/robin/e.jpg") -> ExampleContent:
    picture = member(7)
    saliency = np.where(picture.regions_mask, 250, 5).astype(np.uint8)
    regions = [RegionContent(picture.regions_mask, 0.5)]
    return ExampleContent(
        picture.image, saliency, picture.regions_mask, "e" * 64, uri, "robin", 0.9, 0.1, 0.889,
        regions=regions, proposals=np.array([[8.0, 6.0, 26.0, 22.0]]),
    )


def robin(**changes) -> ClassContent:
    values = dict(
        label="robin",
        class_name="robin",
        class_index=15,
        images=41,
        explained=40,
        accuracy=0.925,
        drop=0.871,
        area=0.104,
        binarization_error=0.062,
        summaries=[summary(1, 4), summary(2, 3)],
        examples=[example()],
    )
    return ClassContent(**(values | changes))


def index(**changes) -> IndexContent:
    return IndexContent(**(dict(title="A run", model="net", weights="ab" * 32, explainer="crisp", seed=7) | changes))


def class_page(directory: Path, content: ClassContent, **told) -> Page:
    return Page(directory / class_pages.write_class_page(directory, content, ToldContent(**told)).page)


def assert_complete(page: Page) -> None:
    """Each link and picture is a file of the report, each picture says its size and what it shows."""
    references = [link["href"] for link in page.all("link")] + [link["href"] for link in page.all("a")]
    for reference in [*references, *(image["src"] for image in page.all("img"))]:
        parts = urlsplit(reference)
        assert not parts.scheme and not parts.netloc and not parts.query and not reference.startswith("/")
        target = page.path.parent / unquote(parts.path) if parts.path else page.path
        assert target.is_file(), reference
        assert not parts.fragment or f'id="{parts.fragment}"' in target.read_text(), reference
    for image in page.all("img"):
        with Image.open(page.path.parent / unquote(image["src"])) as picture:
            assert picture.size == (int(image["width"]), int(image["height"]))
        assert image["loading"] == "lazy" and len(image["alt"]) > 10
    identities = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(identities) == len(set(identities))
    outside = re.sub(r"http://www\.w3\.org/\d+/\w+", "", page.source)
    assert not re.search(r"""(https?:)?//[\w.]|url\(|@import|javascript:""", outside)
