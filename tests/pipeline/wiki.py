"""A wiki on this machine: an Action API that continues, splits its properties, lags, and forgets pages."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

from PIL import Image

from tests.serving import Answer, answering


class Wiki:
    """The Action API's query module as its manual has it, formatversion 2.

    Pages come `batch` at a time; of a batch, the imageinfo of only `props` pages comes in one reply, and the rest
    under `iicontinue`: `batchcomplete` says when all is there.
    """

    def __init__(self) -> None:
        self.url, self.batch, self.props = "", 4, 2
        self.files: dict[int, dict[str, Any]] = {}
        self.captions: dict[int, dict[str, str]] | None = {}
        self.asked: list[dict[str, str]] = []
        self.lag = 0
        self.broken_at: int | None = None
        self.added: dict[int, str] = {}
        self.lost: set[int] = set()
        """Files whose pictures are answered with 503; with 0 the API is too."""

    def add(self, number: int, description: Any = "", **info: Any) -> None:
        meta = {
            "ImageDescription": {"value": description, "source": "commons-desc-page"},
            "LicenseShortName": {"value": "CC BY-SA 4.0"},
            "LicenseUrl": {"value": "https://creativecommons.org/licenses/by-sa/4.0"},
            "Artist": {"value": '<a href="//w.example/User:Ann">Ann &amp; Bob</a>'},
        }
        self.files[number] = {
            "url": f"{self.url}/{number}.png",
            "thumburl": f"{self.url}/thumb/{number}.png",
            "descriptionurl": f"{self.url}/wiki/File:{number}.png",
            "mime": "image/png",
            "sha1": f"{number:040x}",
            "extmetadata": meta,
            **info,
        }

    def answer(self, params: dict[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
        self.asked.append(params)
        if self.broken_at == len(self.asked):
            return {
                "error": {"code": "internal_api_error_DBQueryError", "info": "[x] Database query error."}
            }, {}
        if self.lag:
            self.lag -= 1
            return {"error": {"code": "maxlag", "info": "Waiting for db: 6 seconds lagged.", "lag": 6}}, {
                "Retry-After": "0"
            }
        if params["action"] == "wbgetentities":
            return self._entities(params), {}
        if params["action"] != "query":
            return {"error": {"code": "badvalue", "info": 'Unrecognized value for parameter "action".'}}, {}
        if "pageids" in params:
            asked = [int(number) for number in params["pageids"].split("|")]
            assert len(asked) <= 50
            here = [{"pageid": n, "ns": 6, "title": f"File:{n}.png"} for n in asked if n in self.files]
            gone = [{"pageid": n, "missing": True} for n in asked if n not in self.files]
            for page in here if "prop" in params else []:
                page["imageinfo"] = [self.files[page["pageid"]]]
            return {"batchcomplete": True, "query": {"pages": here + gone}}, {}
        return self._generated(params), {}

    def _generated(self, params: dict[str, str]) -> dict[str, Any]:
        prefix = {"categorymembers": "gcm", "search": "gsr", "allimages": "gai"}[params["generator"]]
        if prefix == "gcm" and not params["gcmtitle"].startswith("Category:"):
            return {
                "error": {"code": "invalidcategory", "info": "The category name you entered is not valid."}
            }
        start = int(params.get(f"{prefix}continue", "0"))
        numbers = sorted(self.files)
        if since := params.get(f"{prefix}start"):
            assert params[f"{prefix}sort"] == "timestamp"
            assert (
                prefix == "gai" or params["gcmnamespace"] == "6"
            )  # by time, its manual says, no type is minded
            numbers = [number for number in numbers if self.added.get(number, "") >= since]
        last, numbers = start + self.batch >= len(numbers), numbers[start : start + self.batch]
        first = int(params.get("iicontinue", "0"))
        pages: list[dict[str, Any]] = [{"pageid": n, "ns": 6, "title": f"File:{n}.png"} for n in numbers]
        for page in pages[first : first + self.props]:
            if info := self.files[page["pageid"]]:
                page["imageinfo"] = [
                    info if "iiurlwidth" in params else {k: v for k, v in info.items() if k != "thumburl"}
                ]
        reply: dict[str, Any] = {"query": {"pages": pages}}
        if first + self.props < len(numbers):
            reply["continue"] = {"iicontinue": str(first + self.props), "continue": "||"}
            if start:
                reply["continue"][f"{prefix}continue"] = str(start)
        else:
            reply["batchcomplete"] = True
            if not last:
                reply["continue"] = {
                    f"{prefix}continue": str(start + self.batch),
                    "continue": f"{prefix}continue||",
                }
        return reply

    def _entities(self, params: dict[str, str]) -> dict[str, Any]:
        if self.captions is None:
            return {
                "error": {
                    "code": "badvalue",
                    "info": 'Unrecognized value for parameter "action": wbgetentities.',
                }
            }
        found: dict[str, Any] = {}
        for name in params["ids"].split("|"):
            labels = self.captions.get(int(name[1:]))
            told = {lang: {"language": lang, "value": text} for lang, text in (labels or {}).items()}
            found[name] = {"id": name, "labels": told or []} if labels else {"id": name, "missing": ""}
        return {"entities": found, "success": 1}


@contextmanager
def serve() -> Iterator[Wiki]:
    def answer(target: str) -> Answer:
        parts = urlsplit(target)
        more: dict[str, str] = {}
        if wiki.lost & {0, *map(int, re.findall(r"(\d+)\.png", parts.path))} and (
            0 not in wiki.lost or parts.path == "/w/api.php"
        ):
            status, kind, body = 503, "text/plain", b""
        elif parts.path == "/w/api.php":
            reply, more = wiki.answer({k: v[0] for k, v in parse_qs(parts.query).items()})
            status, kind, body = 200, "application/json", json.dumps(reply).encode()
        elif parts.path.endswith(".png") and "wiki" not in parts.path:
            out = io.BytesIO()
            number = int(parts.path.rpartition("/")[2][:-4])
            Image.new("RGB", (20, 20), (number, 9, 9)).save(out, "PNG")
            status, kind, body = 200, "image/png", out.getvalue()
        else:
            status, kind, body = 200, "text/html", b"<html>"
        return status, {"Content-Type": kind, **more}, body

    wiki = Wiki()
    with answering(answer) as wiki.url:
        yield wiki
