"""The application: OpenAI's routes over one worker, a page to try it, health and figures."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from importlib import resources
from typing import Any

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, PlainTextResponse, Response

from model.serving import chat, completions, drawing, embeddings, refusals
from model.serving.answering import Answering
from model.serving.desk import NAME, Desk
from model.serving.engine import Engine
from model.serving.guard import POLICY, Guard, Keys
from model.serving.pictures import Fetch
from model.serving.settings import ServeConfig
from storage.limits import Limits


def create_app(
    engine: Engine,
    settings: ServeConfig = ServeConfig(),
    *,
    media: Limits = Limits(),
    keys: Iterable[str] = (),
    fetch: Fetch | None = None,
) -> FastAPI:
    """The API over a worker, which ends when the server does.

    Args:
        media: what is taken of pictures.
        keys: who may ask; everybody if there are none.
        fetch: gets the bytes behind a URL, safely; without it (or `remote_images`) only `data:` URLs are read.
    """
    desk = Desk(engine, settings, media, fetch)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        desk.pool.shutdown(wait=False)
        desk.fetchers.shutdown(wait=False)

    app = FastAPI(title="Millrace", version="1", docs_url=None, redoc_url=None, lifespan=lifespan)
    app.add_middleware(Guard, settings=settings, keys=Keys(keys), answered=desk.metrics.answered)
    refusals.install(app)
    for part in (chat, completions, drawing, embeddings):
        app.include_router(part.router(desk))
    _models(app, engine)
    _watching(app, desk)
    return app


def _models(app: FastAPI, engine: Engine) -> None:
    """What answers, and what is known of it."""

    def listed(who: Answering, name: str) -> dict[str, Any]:
        config = who.model.sequences.config
        return {
            "id": name,
            "object": "model",
            "created": 0,
            "owned_by": NAME,
            "checkpoint": who.id,
            "languages": tags(who, "lang"),
            "tasks": tags(who, "task"),
            "picture_side": who.side,
            "parameters": sum(weight.numel() for weight in who.model.network.parameters()),
            "modalities": [one.name for one in config.modalities],
            **who.about,
        }

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        who = engine.who
        return {"object": "list", "data": [listed(who, NAME), listed(who, who.id)]}

    @app.get("/v1/models/{name}", responses={404: refusals.DOCUMENTED[404]})
    async def one_model(name: str) -> dict[str, Any]:
        who = engine.who
        if name not in (NAME, who.id):
            raise refusals.NotTaken(404, f'no model "{name[:80]}" answers here', code="model_not_found")
        return listed(who, name)

    @app.get("/card", response_class=PlainTextResponse)
    async def card() -> Response:
        """The model card of the checkpoint that answers: what it was trained on, and how well it does."""
        return PlainTextResponse(engine.who.card, media_type="text/markdown; charset=utf-8")


def tags(who: Answering, kind: str) -> list[str]:
    """Names of the languages or tasks that the model has tags of."""
    found = who.model.sequences.vocabulary.specials
    return [tag[len(kind) + 2 : -1] for tag in found if tag.startswith(f"<{kind}:")]


def _watching(app: FastAPI, desk: Desk) -> None:
    """The page, health and figures."""

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def page() -> Response:
        nonce = secrets.token_urlsafe(16)
        text = resources.files("model.serving").joinpath("page.html").read_text("utf-8")
        headers = {"content-security-policy": POLICY.format(nonce=nonce)}
        return HTMLResponse(text.replace("{{nonce}}", nonce), headers=headers)

    @app.get("/healthz", responses={503: {"description": "The worker has ended."}})
    async def health() -> Response:
        alive = desk.engine.alive
        return refusals.JSONResponse({"status": "ok" if alive else "ended"}, 200 if alive else 503)

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        return Response(desk.metrics.text(), media_type="text/plain; version=1.0.0; charset=utf-8")
