"""The live pages: served on this machine alone, from the tables as they are now.

Each page is HTML that the server has written: it needs no script to be read, and no address but this one (the policy in
every answer forbids others). A small script sends a form as its controls move, and asks again while a run goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from importlib.resources import files
from itertools import islice
from urllib.parse import parse_qs

import jinja2
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from dashboards import pictures, report
from dashboards.asked import Asked
from dashboards.page import Mill, Page, Seen
from dashboards.pages import (
    bias,
    corpus,
    drift,
    duplicates,
    evaluations,
    fetching,
    forgotten,
    generations,
    lineage,
    overview,
    thresholds,
    training,
)
from dashboards.reader import Reader, Slow
from storage.errors import StoreError

PAGES: Sequence[Page] = (
    overview.PAGE,
    corpus.PAGE,
    thresholds.PAGE,
    duplicates.PAGE,
    fetching.PAGE,
    drift.PAGE,
    bias.PAGE,
    training.PAGE,
    evaluations.PAGE,
    generations.PAGE,
    lineage.PAGE,
    forgotten.PAGE,
)
HOSTS = ["127.0.0.1", "localhost", "[::1]"]
"""Names by which a browser may ask: another one is somebody else's page that points here."""
LARGEST_UPLOAD = 16_000_000
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",  # without one, a browser sends our own forms from "null"
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",  # what is forgotten must not stay in a browser
}


def create_app(mill: Mill) -> Starlette:
    """The pages over one store."""
    reader = Reader(mill.store)
    shown = [Route(page.path, partial(_page, mill, reader, page)) for page in PAGES]
    app = Starlette(
        routes=[
            *shown,
            Route("/live.js", _script),
            Route("/like", _like, methods=["POST"]),
            Route("/thresholds/save", partial(_save, mill), methods=["POST"]),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS)],
        exception_handlers=dict.fromkeys(
            (Slow, StoreError, HTTPException, thresholds.NotSaved, *mill.errors), _excused
        ),
    )
    return app


@cache
def environment() -> jinja2.Environment:
    """The report's templates and filters."""
    return report.environment().overlay()


async def _page(mill: Mill, reader: Reader, page: Page, request: Request) -> Response:
    asked = Asked(parse_qs(request.url.query, max_num_fields=64))
    return await run_in_threadpool(answered, mill, reader, page, asked)


def answered(mill: Mill, reader: Reader, page: Page, asked: Asked) -> Response:
    """A page as it is sent."""
    with reader.looking() as (db, answers):
        content = page.content(Seen(mill, db, answers), asked)
        shown = pictures.stored(db, islice(pictures.ids_in(content), pictures.MOST_SHOWN))
    return _rendered(page, {"pictures": shown, "asked": asked, "live": page.live(content), **content})


def _rendered(page: Page | None, content: dict, status: int = 200) -> Response:
    text = environment().get_template("shell.html").render(page=page, pages=PAGES, **content)
    return HTMLResponse(text, status, HEADERS)


async def _excused(request: Request, error: Exception) -> Response:
    """A sentence on a page, and no traceback."""
    statuses = {Slow: 503, thresholds.NotSaved: 422}
    status = error.status_code if isinstance(error, HTTPException) else statuses.get(type(error), 500)
    said = {404: "There is no such page.", 405: "That is not how this page is asked."}.get(status, str(error))
    return _rendered(None, {"said": said, "live": False, "pictures": {}}, status)


async def _script(request: Request) -> Response:
    text = (files("dashboards") / "live.js").read_text(encoding="utf-8")
    return Response(text, media_type="text/javascript", headers=HEADERS)


async def _like(request: Request) -> Response:
    """The hashes of a picture that somebody looks for; the picture itself is not kept."""
    _own(request)
    content = await _body(request, LARGEST_UPLOAD)
    try:
        found = await run_in_threadpool(pictures.looks, content)
    except pictures.NoPicture as error:
        return JSONResponse({"said": str(error)}, 422, HEADERS)
    return JSONResponse(found, headers=HEADERS)


async def _save(mill: Mill, request: Request) -> Response:
    """Writes one threshold into the configuration, and shows the page again with what was done."""
    _own(request)
    form = Asked(parse_qs((await _body(request, 4096)).decode("utf-8", "replace"), max_num_fields=16))
    said = await run_in_threadpool(thresholds.save, mill, form)
    return RedirectResponse(f"/thresholds{form.address(said=said, value=None)}", 303, HEADERS)


def _own(request: Request) -> None:
    """Only a form of these pages may change something: a browser says where a form was sent from."""
    host = request.headers.get("host")
    if request.headers.get("origin") not in (f"http://{host}", None) or request.headers.get(
        "sec-fetch-site", "same-origin"
    ) not in ("same-origin", "none"):
        raise HTTPException(403, "that came from another page")


async def _body(request: Request, most: int) -> bytes:
    """The request's body, of `most` bytes."""
    found = bytearray()
    async for chunk in request.stream():
        found += chunk
        if len(found) > most:
            raise HTTPException(413, f"that is longer than {most:,} bytes")
    return bytes(found)
