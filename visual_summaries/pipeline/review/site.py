"""The static report, with a link to the questions on its pages."""

import os
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

PLACEHOLDER = b"<!-- review -->"
LINK = b'<a href="/review">Name parts, rate maps</a>'


class Site(StaticFiles):
    """The files below a folder and nothing else; the folder may be made, or made again, while this serves it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(directory=folder, html=True, check_dir=False)

    async def check_config(self) -> None:
        """Nothing: a report that is not there is a page that is not found."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        # What is being written has such a name.
        if any(part.startswith(".") for part in Path(path).parts if part != "."):
            raise HTTPException(404)
        return await super().get_response(path, scope)

    def file_response(
        self, full_path: str | os.PathLike, stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        if not str(full_path).endswith(".html"):
            return super().file_response(full_path, stat_result, scope, status_code)
        return HTMLResponse(Path(full_path).read_bytes().replace(PLACEHOLDER, LINK), status_code)
