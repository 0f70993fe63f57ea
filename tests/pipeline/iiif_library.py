"""A library on this machine that serves IIIF manifests of both versions, and an Image API of level 2."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from PIL import Image

from tests.serving import Answer, answering


def manifest3(url: str, canvases: int = 2, **more: Any) -> dict[str, Any]:
    return {
        "@context": "http://iiif.io/api/presentation/3/context.json",
        "id": f"{url}/m3",
        "type": "Manifest",
        "label": {"en": ["Two bears"], "de": ["Zwei Bären"]},
        "summary": {"en": ["<p>Seen <b>at night</b>.</p>"]},
        "rights": "http://creativecommons.org/licenses/by/4.0/",
        "requiredStatement": {
            "label": {"en": ["Attribution"]},
            "value": {"en": ["By the <i>Bear Library</i>"]},
        },
        "homepage": [{"id": "https://h.example/bears", "type": "Text", "label": {"en": ["Home"]}}],
        "items": [
            {
                "id": f"{url}/m3/canvas/{n}",
                "type": "Canvas",
                "label": {"none": [f"f. {n}r"]},
                "width": 40,
                "height": 30,
                "items": [
                    {
                        "id": f"{url}/m3/page/{n}",
                        "type": "AnnotationPage",
                        "items": [
                            {
                                "type": "Annotation",
                                "motivation": "painting",
                                "target": f"{url}/m3/canvas/{n}",
                                "body": {
                                    "id": f"{url}/i/{n}/full/max/0/default.jpg",
                                    "type": "Image",
                                    "format": "image/jpeg",
                                    "width": 1000,
                                    "height": 750,
                                    "service": [
                                        {"id": f"{url}/i/{n}", "type": "ImageService3", "profile": "level2"}
                                    ],
                                },
                            }
                        ],
                    }
                ],
            }
            for n in range(canvases)
        ],
        **more,
    }


def manifest2(url: str, **more: Any) -> dict[str, Any]:
    resource = {"@id": f"{url}/direct/7.png", "@type": "dctypes:Image", "format": "image/png"}
    return {
        "@context": "http://iiif.io/api/presentation/2/context.json",
        "@id": f"{url}/m2",
        "@type": "sc:Manifest",
        "label": [{"@value": "A map", "@language": "en"}, {"@value": "Une carte", "@language": "fre"}],
        "description": "Drawn by hand.",
        "license": "https://creativecommons.org/publicdomain/mark/1.0/",
        "attribution": "Map Room",
        "related": {"@id": "https://h.example/map", "format": "text/html"},
        "metadata": [{"label": "Date", "value": "1700"}],
        "sequences": [
            {
                "@type": "sc:Sequence",
                "canvases": [
                    {
                        "@id": f"{url}/m2/c1",
                        "@type": "sc:Canvas",
                        "images": [
                            {"@type": "oa:Annotation", "motivation": "sc:painting", "resource": resource}
                        ],
                    }
                ],
            }
        ],
        **more,
    }


class Library:
    """JSON by path, and an Image API of level 2 for /i/…"""

    def __init__(self) -> None:
        self.documents: dict[str, Any] = {}
        self.asked: list[str] = []
        self.status: dict[str, int] = {}

    def answer(self, path: str) -> tuple[int, str, bytes]:
        self.asked.append(path)
        if path in self.status:
            return self.status[path], "text/plain", b"not now"
        if path in self.documents:
            value = self.documents[path]
            return (
                200,
                "application/ld+json",
                value if isinstance(value, bytes) else json.dumps(value).encode(),
            )
        found = re.fullmatch(r"/i/(\d+)/full/!(\d+),(\d+)/0/default.jpg|/direct/(\d+).png", path)
        if not found:
            return 404, "text/plain", b"nothing here"
        out = io.BytesIO()
        Image.new("RGB", (40, 30), (int(found[1] or found[4]) * 9 % 256, 90, 9)).save(out, "PNG")
        return 200, "image/png", out.getvalue()


@contextmanager
def serve() -> Iterator[tuple[str, Library]]:
    library = Library()

    def answer(path: str) -> Answer:
        status, kind, body = library.answer(path)
        return status, {"Content-Type": kind}, body

    with answering(answer) as url:
        yield url, library
