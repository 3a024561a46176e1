"""The server's pages: the static report, and below /review the questions.

    /review                       who is answering; how far they are
    /review/{part,map,find}       the next question of a kind, and where its answer goes
    /review/picture/<key>/<name>  a picture of a question
"""

import json
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import jinja2
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount, Route

from visual_summaries.pipeline.evaluate.ratings import FIND_IMAGE, HIGHEST_RATING, MAP_RATING, PART_NAME, tags_of
from visual_summaries.pipeline.explain.feature_cam import PERCENTILE
from visual_summaries.pipeline.models.preprocessing import Preprocessing
from visual_summaries.pipeline.review.answers import Answer, AnswerStore
from visual_summaries.pipeline.review.drawing import Drawer, Unreadable
from visual_summaries.pipeline.review.guard import COOKIE_SECONDS, Guard
from visual_summaries.pipeline.review.questions import Question, Questionnaire
from visual_summaries.pipeline.review.site import Site
from visual_summaries.pipeline.store.tables import StoreError, TableStore

KIND_OF = {"part": PART_NAME, "map": MAP_RATING, "find": FIND_IMAGE}
LONGEST_NAME, LONGEST_ANSWER = 60, 300
UNREADABLE_AT_ONCE = 20
"""Questions left out for one page before it says that something is wrong with all of them."""

_HERE = Path(__file__).parent
_SITE_STYLE = _HERE.parent / "report" / "templates" / "style.css"


@dataclass(frozen=True)
class ReviewedRun:
    """What the server knows of the run.

    Attributes:
        folder: of the run; its report is in `report` below it.
        preprocessing: how the run's classifier sees a photograph.
        class_names: of the classifier's outputs.
        facts: what is stored with each answer: model, weights, explainer.
    """

    folder: Path
    preprocessing: Preprocessing
    class_names: tuple[str, ...]
    facts: dict[str, str]

    @cached_property
    def store(self) -> TableStore:
        return TableStore(self.folder)


class Mistake(Exception):
    """An answer that cannot be stored as it is; the message tells the rater what is missing."""


def review_app(
    run: ReviewedRun,
    questions: Questionnaire,
    answers: AnswerStore,
    *,
    loopback: bool,
    token: str | None,
    port: int,
) -> Starlette:
    """The server as an ASGI application.

    Args:
        loopback: only this machine can reach it; then requests must name a loopback host.
        token: what a visitor must bring; None only on loopback.
        port: that it is reached at, which tells its cookies from those of other servers.

    Raises:
        ValueError: neither loopback nor a token.
    """
    if not loopback and not token:
        raise ValueError("a server that others can reach needs a token")
    pages = Pages(run, questions, answers, port)
    routes = [
        Route("/review", pages.start),
        Route("/review/rater", pages.enter, methods=["POST"]),
        Route("/review/review.css", pages.style),
        Route("/review/picture/{key}/{name}", pages.picture),
        Route("/review/{kind}", pages.question),
        Route("/review/{kind}", pages.answer, methods=["POST"]),
        Mount("/", Site(run.folder / "report")),
    ]
    handlers = {StoreError: pages.failed, Unreadable: pages.failed, HTTPException: pages.refused}
    guard = Middleware(Guard, loopback=loopback, token=token, port=port)
    return Starlette(routes=routes, middleware=[guard], exception_handlers=handlers)


class Pages:
    """The endpoints; those that read or draw run in threads."""

    def __init__(self, run: ReviewedRun, questions: Questionnaire, answers: AnswerStore, port: int) -> None:
        self._run, self._questions, self._answers = run, questions, answers
        self._drawer = Drawer(run.store, questions, run.preprocessing)
        self._by_key = questions.by_key()
        self._cookie = f"visual-summaries-rater-{port}"
        self._environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def start(self, request: Request) -> Response:
        rater = self._rater(request)
        done = self._answers.answered(rater) if rater else set()
        progress = {
            page: (sum(question.key in done for question in self._questions.questions[kind]), len(own))
            for page, kind in KIND_OF.items()
            for own in [self._questions.questions[kind]]
        }
        return self._page("start.html", rater=rater, progress=progress, mistake=None, longest=LONGEST_NAME)

    async def enter(self, request: Request) -> Response:
        form = await request.form(max_files=0)
        name = _one_line(form.get("rater"))
        if not 1 <= len(name) <= LONGEST_NAME:
            mistake = f"Enter a name of 1 to {LONGEST_NAME} characters."
            return self._page("start.html", 422, rater=None, progress={}, mistake=mistake, longest=LONGEST_NAME)
        known = await run_in_threadpool(self._answers.raters)
        # "ann" is whoever began as "Ann".
        name = next((other for other in known if other.casefold() == name.casefold()), name)
        response = RedirectResponse("/review", 303)
        response.set_cookie(
            self._cookie, quote(name, safe=""), COOKIE_SECONDS, path="/review", httponly=True, samesite="strict"
        )
        return response

    def style(self, request: Request) -> Response:
        """The report's look and our own; from the package, because a run may have no report, or an old one."""
        own = _HERE / "templates" / "review.css"
        return Response(_SITE_STYLE.read_bytes() + own.read_bytes(), media_type="text/css")

    def picture(self, request: Request) -> Response:
        question = self._by_key.get(request.path_params["key"])
        try:
            drawn = self._drawer.pictures(question) if question else {}
        except Unreadable:
            drawn = {}
        content = drawn.get(request.path_params["name"].removesuffix(".webp"))
        if content is None:
            raise HTTPException(404)
        # The key names what is drawn, so that it never changes.
        headers = {"Cache-Control": "private, max-age=3600, immutable"}
        return Response(content, media_type="image/webp", headers=headers)

    def question(self, request: Request) -> Response:
        rater, page = self._rater(request), _page_of(request)
        return self._next(page, rater) if rater else RedirectResponse("/review", 303)

    async def answer(self, request: Request) -> Response:
        rater, page = self._rater(request), _page_of(request)
        if not rater:
            return RedirectResponse("/review", 303)
        form = await request.form(max_files=0)
        question = self._by_key.get(str(form.get("question")))
        if question is None or question.kind != KIND_OF[page]:
            raise HTTPException(404, "This question is not asked about the run as it is now.")
        try:
            content = _READ[question.kind](question, form)
        except Mistake as mistake:
            return await run_in_threadpool(self._ask, page, rater, question, [], str(mistake), 422)
        protocol = {
            **self._run.facts,
            "seed": self._questions.seed,
            "computed_from": question.origin,
            **content.get("protocol", {}),
        }
        stored = Answer(
            rater,
            question.key,
            question.kind,
            question.label,
            question.summary,
            question.image.image_id if question.image else None,
            content.get("text"),
            content.get("value"),
            json.dumps(protocol),
        )
        # A form sent twice is one answer: the first.
        await run_in_threadpool(self._answers.add, stored)
        return RedirectResponse(f"/review/{page}", 303)

    def failed(self, request: Request, error: Exception) -> Response:
        return self._page("message.html", 503, title="Not possible just now", message=str(error))

    def refused(self, request: Request, error: Exception) -> Response:
        message = "There is no such page." if error.detail == "Not Found" else error.detail
        return self._page("message.html", error.status_code, title="Nothing here", message=message)

    def _next(self, page: str, rater: str) -> Response:
        """The first question of a kind that this rater has not answered and whose photographs can be read."""
        kind = KIND_OF[page]
        done = self._answers.answered(rater)
        unreadable: list[str] = []
        for question in self._questions.in_order(kind, rater):
            if question.key in done:
                continue
            try:
                self._drawer.pictures(question)
            except Unreadable as error:
                unreadable.append(str(error))
                if len(unreadable) == UNREADABLE_AT_ONCE:
                    break
                continue
            return self._ask(page, rater, question, unreadable, None)
        return self._page("done.html", page=page, rater=rater, unreadable=unreadable)

    def _ask(
        self, page: str, rater: str, question: Question, unreadable: list[str], mistake: str | None, status: int = 200
    ) -> Response:
        own = self._questions.questions[question.kind]
        done = self._answers.answered(rater)
        known = 0 <= question.class_index < len(self._run.class_names)
        return self._page(
            f"{page}.html",
            status,
            page=page,
            rater=rater,
            key=question.key,
            pictures=list(self._drawer.pictures(question)),
            class_name=self._run.class_names[question.class_index] if known else question.label,
            number=sum(other.key in done for other in own) + 1,
            total=len(own),
            unreadable=unreadable,
            mistake=mistake,
            highest=HIGHEST_RATING,
            longest=LONGEST_ANSWER,
        )

    def _rater(self, request: Request) -> str | None:
        name = _one_line(unquote(request.cookies.get(self._cookie, "")))
        return name if 1 <= len(name) <= LONGEST_NAME else None

    def _page(self, template: str, status: int = 200, **values: Any) -> Response:
        text = self._environment.get_template(template).render(**values)
        # A file name that is not UTF-8 reaches us with lone surrogates, which no page can hold.
        return HTMLResponse(text.encode("utf-8", "replace"), status)


def _page_of(request: Request) -> str:
    if request.path_params["kind"] not in KIND_OF:
        raise HTTPException(404)
    return request.path_params["kind"]


def _one_line(text: Any) -> str:
    """Text without control characters, blanks made one and stripped; empty for what is no text."""
    normal = unicodedata.normalize("NFKC", text) if isinstance(text, str) else ""
    printable = "".join(letter if unicodedata.category(letter)[0] != "C" else " " for letter in normal)
    return " ".join(printable.split())


def _part_name(question: Question, form: Any) -> dict[str, Any]:
    if form.get("unsure"):
        return {}
    text = _one_line(form.get("names"))
    if not tags_of(text):
        raise Mistake("Enter one word or more, or choose “I cannot tell”.")
    if len(text) > LONGEST_ANSWER:
        raise Mistake(f"Names of at most {LONGEST_ANSWER} characters in all, please.")
    return {"text": text}


def _map_rating(question: Question, form: Any) -> dict[str, Any]:
    return {"value": float(_choice(form, "rating", HIGHEST_RATING + 1, "Choose a rating."))}


def _image_found(question: Question, form: Any) -> dict[str, Any]:
    place = _choice(form, "photograph", len(question.pool), "Choose one of the photographs.")
    chosen = question.pool[place].image_id
    protocol = {
        "distractors": question.distractors,
        "pool": [photograph.image_id for photograph in question.pool],
        "chosen": chosen,
        "percentile": PERCENTILE,
    }
    return {"value": float(chosen == question.image.image_id), "protocol": protocol}


def _choice(form: Any, name: str, count: int, mistake: str) -> int:
    """The number from 0 to count − 1 that was chosen."""
    text = form.get(name)
    if text not in [str(number) for number in range(count)]:
        raise Mistake(mistake)
    return int(text)


_READ: dict[str, Callable[[Question, Any], dict[str, Any]]] = {
    PART_NAME: _part_name,
    MAP_RATING: _map_rating,
    FIND_IMAGE: _image_found,
}
