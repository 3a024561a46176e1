"""A page of the browser that is watched: messages, errors, dialogs and everything it asks for."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def wait_until(page: Any, condition: str) -> None:
    """Wait until an expression is true, asking again from outside: pages forbid that a string is evaluated in them."""
    deadline = time.monotonic() + 30
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, f"not true within 30 s: {condition}"
        page.wait_for_timeout(50)


class Watched:
    """A page and what happened on it."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.troubles: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.troubles.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.troubles.append(f"error: {error}"))
        page.on("requestfailed", self._failed)
        page.on("dialog", self._dialog)
        page.on("request", lambda request: self.requests.append(request.url))

    def _failed(self, request: Any) -> None:
        # Leaving a page ends what it still loads.
        if request.failure != "net::ERR_ABORTED":
            self.troubles.append(f"failed: {request.url} {request.failure}")

    def _dialog(self, dialog: Any) -> None:
        self.troubles.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def open(self, path: Path) -> None:
        """Open a file and scroll through it, so that all its pictures load."""
        self.page.goto(path.as_uri())
        self.page.evaluate("document.querySelectorAll('img').forEach((image) => { image.loading = 'eager'; })")
        wait_until(self.page, "[...document.images].every((image) => image.complete)")

    def broken_pictures(self) -> list[str]:
        return self.page.evaluate(
            "[...document.images].filter((image) => !image.naturalWidth).map((image) => image.src)"
        )


@contextmanager
def watched(browser: Any, width: int = 1280, height: int = 900, **options: Any) -> Iterator[Watched]:
    """A page of its own context, closed at the end."""
    context = browser.new_context(viewport={"width": width, "height": height}, **options)
    try:
        yield Watched(context.new_page())
    finally:
        context.close()


def violations(page: Any, axe: str) -> list[str]:
    """axe-core's serious and critical findings on a page."""
    # As an isolated script, which the page's own policy on scripts does not concern.
    page.evaluate(axe)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations'], preload: false})")
    return [
        f"{one['id']} ({one['impact']}): {node['html'][:160]} — {node.get('failureSummary', '')[:300]}"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]
