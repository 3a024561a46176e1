"""The forms by real requests: stored, resumed, exported, escaped."""

import io
import json
import re
import shutil
from html.parser import HTMLParser

import httpx
import numpy as np
from hostile_names import EVIL_CLASS, EVIL_LABEL
from PIL import Image

from visual_summaries.pipeline.evaluate.ratings import FIND_IMAGE, MAP_RATING, PART_NAME, study_results
from visual_summaries.pipeline.review.answers import FILE, AnswerStore
from visual_summaries.pipeline.review.export import current_ratings, export_answers
from visual_summaries.pipeline.review.questions import questionnaire
from visual_summaries.pipeline.store.tables import TableStore

VOID = {"meta", "link", "img", "input", "br"}


class Page(HTMLParser):
    """Elements and text of a page; complains when elements are not closed in order or come from elsewhere."""

    def __init__(self, response: httpx.Response) -> None:
        super().__init__(convert_charrefs=True)
        assert response.status_code == 200, response.text
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(response.text)
        assert not self.open
        for tag, attributes in self.elements:
            assert tag not in ("script", "svg") and not any(name.startswith("on") for name in attributes)
            for name in ("src", "href", "action"):
                assert re.match(r"[/#](?!/)", attributes.get(name) or "#"), attributes

    def handle_starttag(self, tag, attributes) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        self.text += data

    def all(self, tag: str, **wanted: str) -> list[dict[str, str | None]]:
        return [own for name, own in self.elements if name == tag and wanted.items() <= own.items()]

    @property
    def question(self) -> str:
        return self.all("input", name="question")[0]["value"]


def test_every_kind_is_asked_stored_and_exported(own_run, serve, visit) -> None:
    address = serve(own_run, seed=5)
    ann = visit(address, "Ann")
    questions = questionnaire(own_run.store, 5)
    by_key = questions.by_key()
    expected = []

    page = Page(ann.get("/review/part"))
    asked = by_key[page.question]
    assert ann.post("/review/part", data={"question": asked.key, "names": " Head,  crest "}).status_code == 303
    expected.append((PART_NAME, asked.label, asked.summary, None, "Head, crest", None))
    page = Page(ann.get("/review/part"))
    unsure = by_key[page.question]
    assert unsure.key != asked.key
    ann.post("/review/part", data={"question": unsure.key, "names": "", "unsure": "1"})
    expected.append((PART_NAME, unsure.label, unsure.summary, None, None, None))

    page = Page(ann.get("/review/map"))
    rated = by_key[page.question]
    assert [own["value"] for own in page.all("input", type="radio")] == list("0123456")
    ann.post("/review/map", data={"question": rated.key, "rating": "6"})
    expected.append((MAP_RATING, rated.label, None, rated.image.image_id, None, 6.0))

    for right in (True, False):
        page = Page(ann.get("/review/find"))
        wanted = by_key[page.question]
        own_place = wanted.pool.index(wanted.image)
        place = own_place if right else (own_place + 1) % 4
        ann.post("/review/find", data={"question": wanted.key, "photograph": str(place)})
        expected.append((FIND_IMAGE, wanted.label, None, wanted.image.image_id, None, float(right)))

    answers = AnswerStore(own_run.folder / FILE)
    store = TableStore(own_run.folder)
    assert export_answers(answers, store) == (5, 0)
    rows = store.read_all("ratings").to_pylist()
    columns = ("kind", "label", "summary", "image_id", "text", "value")
    key = str
    assert sorted((tuple(row[name] for name in columns) for row in rows), key=key) == sorted(expected, key=key)
    assert {row["rater"] for row in rows} == {"Ann"} and current_ratings(store) == rows
    found = next(row for row in rows if row["kind"] == FIND_IMAGE and row["value"] == 0)
    protocol = json.loads(found["protocol"])
    assert protocol["distractors"] == "same class" and len(protocol["pool"]) == 4 and protocol["seed"] == 5
    assert protocol["explainer"].startswith("grad-cam") and protocol["chosen"] in protocol["pool"]
    assert protocol["chosen"] != found["image_id"]
    results = study_results(rows)
    assert (results.faith.value, results.index.value, results.raters) == (0.5, 6.0, 1)

    # The same answers, the same shards.
    listed = store.listed("ratings")
    assert export_answers(answers, store) == (5, 0) and store.listed("ratings") == listed
    answers.close()


def test_pictures_are_the_right_ones(own_run, serve, visit) -> None:
    address = serve(own_run)
    ann = visit(address, "Ann")
    questions = questionnaire(own_run.store, 0)

    def picture(key: str, name: str) -> np.ndarray:
        response = ann.get(f"/review/picture/{key}/{name}.webp")
        assert response.headers["content-type"] == "image/webp"
        return np.asarray(Image.open(io.BytesIO(response.content)).convert("RGB")).astype(float)

    for question in questions.questions[FIND_IMAGE][:2]:
        for place, photograph in enumerate(question.pool):
            side = own_run.preprocessing.resize_side
            drawn = Image.open(photograph.uri).convert("RGB").resize((side, side))
            margin = (side - own_run.preprocessing.crop_side) // 2
            cropped = drawn.crop((margin, margin, side - margin, side - margin)).resize((320, 320))
            assert abs(picture(question.key, str(place)) - np.asarray(cropped)).mean() < 8
    part = questions.questions[PART_NAME][0]
    shown = Page(ann.get("/review/part")).all("img")
    assert len(shown) >= 2 and all(own["alt"] for own in shown)
    assert picture(part.key, "0").shape == (224, 224, 3)
    assert ann.get("/review/picture/nothing/0.webp").status_code == 404
    assert ann.get(f"/review/picture/{part.key}/99.webp").status_code == 404


def test_no_question_twice_and_resume(own_run, serve, visit) -> None:
    total = len(questionnaire(own_run.store, 0).questions[MAP_RATING])
    seen = []
    # Two servers, one after the other: the second goes on where the first was stopped.
    for _ in range(2):
        ann = visit(serve(own_run), "ann")
        for _ in range(total // 2):
            page = Page(ann.get("/review/map"))
            assert f"question {len(seen) + 1} of {total}" in page.text
            seen.append(page.question)
            assert Page(ann.get("/review/map")).question == seen[-1]
            ann.post("/review/map", data={"question": seen[-1], "rating": "3"})
    assert len(set(seen)) == len(seen) == total
    assert "All answered" in Page(ann.get("/review/map")).text
    assert f"{total} of {total} answered" in Page(ann.get("/review")).text
    bob = visit(str(ann.base_url).rstrip("/"), "bob")
    assert Page(bob.get("/review/map")).question in seen


def test_a_form_sent_twice_is_one_answer(own_run, serve, visit) -> None:
    address = serve(own_run)
    ann = visit(address, "Ann")
    key = Page(ann.get("/review/map")).question
    for rating in ("2", "5"):
        assert ann.post("/review/map", data={"question": key, "rating": rating}).status_code == 303
    # The same person, whatever the letters' case.
    assert Page(visit(address, "  ANN ").get("/review/map")).question != key
    answers = AnswerStore(own_run.folder / FILE)
    assert [(row["rater"], row["value"]) for row in answers.all()] == [("Ann", 2.0)]
    answers.close()


def test_mistakes_are_said_and_nothing_is_stored(own_run, serve, visit) -> None:
    ann = visit(serve(own_run), "Ann")
    keys = {kind: Page(ann.get(f"/review/{kind}")).question for kind in ("part", "map", "find")}
    wrong = [
        ("part", {"names": " , "}, "Enter one word"),
        ("part", {"names": "x" * 301}, "at most"),
        ("map", {}, "Choose a rating"),
        ("map", {"rating": "7"}, "Choose a rating"),
        ("map", {"rating": "³"}, "Choose a rating"),
        ("find", {"photograph": "-1"}, "Choose one"),
    ]
    for kind, data, message in wrong:
        response = ann.post(f"/review/{kind}", data=data | {"question": keys[kind]})
        assert response.status_code == 422 and message in response.text and keys[kind] in response.text
    assert ann.post("/review/map", data={"question": keys["part"], "rating": "1"}).status_code == 404
    assert ann.post("/review/map", data={"question": "gone", "rating": "1"}).status_code == 404
    assert ann.post("/review/nothing", data={}).status_code == 404
    assert ann.post("/review/rater", data={"rater": " \u200b "}).status_code == 422
    assert ann.post("/review/rater", data={"rater": "x" * 61}).status_code == 422
    answers = AnswerStore(own_run.folder / FILE)
    assert answers.all() == []
    answers.close()


def test_without_a_name_nobody_is_asked(own_run, serve, visit) -> None:
    nobody = visit(serve(own_run))
    for kind in ("part", "map", "find"):
        response = nobody.get(f"/review/{kind}")
        assert (response.status_code, response.headers["location"]) == (303, "/review")
    assert nobody.post("/review/map", data={"question": "x"}).headers["location"] == "/review"


def test_hostile_names_are_text(own_run, serve, visit) -> None:
    evil = "<b onmouseover=alert(4)>\"&'"
    address = serve(own_run)
    ann = visit(address, evil)
    assert evil in Page(ann.get("/review")).text
    # Until the class with the hostile name comes up.
    for kind, data in (("part", {"names": evil}), ("map", {"rating": "1"})):
        texts = []
        while "All answered" not in (page := Page(ann.get(f"/review/{kind}"))).text:
            texts.append(page.text)
            ann.post(f"/review/{kind}", data=data | {"question": page.question})
        assert any(EVIL_CLASS in text for text in texts), kind
    index = ann.get("/")
    assert EVIL_CLASS not in index.text
    answers = AnswerStore(own_run.folder / FILE)
    export_answers(answers, own_run.store)
    answers.close()
    rows = own_run.store.read_all("ratings", label=EVIL_LABEL).to_pylist()
    assert {row["rater"] for row in rows} == {evil} and evil in {row["text"] for row in rows}


def test_photographs_that_are_gone_are_left_out(own_run, serve, visit, tmp_path) -> None:
    # The run's photographs are another run's too: point the table at copies.
    images = own_run.store.read_all("images").to_pylist()
    moved = {row["uri"]: tmp_path / f"copy-{number}<i>.png" for number, row in enumerate(images)}
    for uri, path in moved.items():
        shutil.copy(uri, path)
    questions = questionnaire(own_run.store, 0)
    rewrite_uris(own_run, {uri: str(path) for uri, path in moved.items()})
    ann = visit(serve(own_run), "Ann")
    order = questions.in_order(MAP_RATING, "Ann")
    moved[order[0].image.uri].unlink()
    moved[order[1].image.uri].write_bytes(b"something else")
    page = Page(ann.get("/review/map"))
    assert page.question == order[2].key
    assert "2 questions were left out" in page.text and "<i>.png" in page.text
    assert ann.get(f"/review/picture/{order[0].key}/map.webp").status_code == 404
    for path in moved.values():
        path.unlink(missing_ok=True)
    # The one shown last is remembered; all others cannot be asked.
    ann.post("/review/map", data={"question": page.question, "rating": "0"})
    assert "Nothing else can be asked" in Page(ann.get("/review/map")).text
    # Its photograph may be a member of a part; a server that has read nothing yet remembers none.
    assert "left out" in Page(visit(serve(own_run), "Ann").get("/review/part")).text


def rewrite_uris(run, places: dict[str, str]) -> None:  # noqa: ANN001
    store = run.store
    for shard in store.manifest("images"):
        table = store.read("images", [shard.path])
        column = table.schema.get_field_index("uri")
        uris = [places[uri] for uri in table.column("uri").to_pylist()]
        store.write("images", shard.path, table.set_column(column, table.schema.field("uri"), [uris]), shard.label)


def test_answers_about_what_is_no_more_are_left_out(own_run, serve, visit) -> None:
    ann = visit(serve(own_run), "Ann")
    for kind, data in (("part", {"names": "head"}), ("map", {"rating": "4"})):
        ann.post(f"/review/{kind}", data=data | {"question": Page(ann.get(f"/review/{kind}")).question})
    answers, store = AnswerStore(own_run.folder / FILE), own_run.store
    assert export_answers(answers, store) == (2, 0)
    # The summaries are computed anew, with other settings.
    shards = []
    for shard in store.manifest("summaries"):
        path = re.sub(r"[0-9a-f]+\.parquet", f"{'0' * 24}.parquet", shard.path)
        shards.append(store.write("summaries", path, store.read("summaries", [shard.path]), shard.label))
    store.write_manifest("summaries", "", shards, complete=True)
    assert [row["kind"] for row in current_ratings(store)] == [MAP_RATING]
    assert export_answers(answers, store) == (1, 1) and len(answers.all()) == 2
    answers.close()


def test_a_run_without_answers_has_no_ratings(own_run) -> None:
    assert current_ratings(own_run.store) == []


def test_the_site_links_to_the_questions(own_run, serve) -> None:
    address = serve(own_run)
    index = own_run.folder / "report" / "index.html"
    index.write_text(index.read_text().replace("</body>", "<p><!-- review --></p></body>"))
    text = httpx.get(f"{address}/").text
    assert "<!-- review -->" not in text and 'href="/review"' in text
    classes = sorted((own_run.folder / "report" / "classes").iterdir())
    for folder in classes:
        assert httpx.get(f"{address}/classes/{folder.name}/index.html").status_code == 200
    assert httpx.get(f"{address}/style.css").headers["content-type"].startswith("text/css")
    assert httpx.get(f"{address}/nowhere.html").status_code == 404
    shutil.rmtree(own_run.folder / "report")
    assert httpx.get(f"{address}/").status_code == 404
    assert httpx.get(f"{address}/review").status_code == 200


def test_all_forms_have_labels(own_run, serve, visit) -> None:
    ann = visit(serve(own_run), "Ann")
    for path in ("/review", "/review/part", "/review/map", "/review/find"):
        page = Page(ann.get(path))
        labels = {own.get("for") for own in page.all("label")}
        for own in page.all("input"):
            assert own.get("type") in ("hidden", "radio") or own["id"] in labels, path
        radios = page.all("input", type="radio")
        assert len(page.all("fieldset")) == len(page.all("legend")) == bool(radios)
        assert all("alt" in own for own in page.all("img")) and len(page.all("h1")) == 1

