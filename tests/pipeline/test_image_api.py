"""IIIF Image API: every URL that we ask for is one that a server true to its description answers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.formats.image_api import image_service, image_url

if TYPE_CHECKING:
    pass


class Refused(Exception):
    """What an Image API answers with 400 or 501."""


def serves(url: str, service: dict[str, Any], width: int, height: int) -> tuple[int, int]:
    """The size of the picture that an Image API server gives which can do what its service says, and nothing more."""
    base = (service.get("id") or service["@id"]).rstrip("/")
    found = re.fullmatch(re.escape(base) + r"/full/([^/]+)/0/(default|native)\.jpg", url)
    if not found:
        raise Refused(url)
    three = service.get("type") == "ImageService3"
    profile = service.get("profile")
    said = profile if isinstance(profile, str) else profile[0]
    level = int(said.removesuffix(".json")[-1])
    more = {} if isinstance(profile, str) else profile[1]
    limits = service if three else more
    most = limits.get("maxWidth", 10**9)
    sizes = {(s["width"], s["height"]) for s in service.get("sizes", [])}
    if found[1] in ("full", "max"):
        if found[1] == ("full" if three else "max"):
            raise Refused("written as in the other version")
        factor = min(1.0, most / max(width, height))
        if factor < 1 and not three:
            raise Refused("over maxWidth")
        return max(1, round(width * factor)), max(1, round(height * factor))
    if box := re.fullmatch(r"!(\d+),(\d+)", found[1]):
        if level < 2 and "sizeByConfinedWh" not in limits.get("extraFeatures", limits.get("supports", [])):
            raise Refused("no !w,h")
        factor = min(int(box[1]) / width, int(box[2]) / height)
        size = max(1, round(width * factor)), max(1, round(height * factor))
    elif tall := re.fullmatch(r",(\d+)", found[1]):
        if level < 1:
            raise Refused("no ,h")
        size = max(1, round(width * int(tall[1]) / height)), int(tall[1])
    elif one := re.fullmatch(r"(\d+),(\d*)", found[1]):
        wide = int(one[1])
        size = wide, int(one[2] or max(1, round(height * wide / width)))
        if level == 0 and not any(wide == w and one[2] in ("", str(h)) for w, h in sizes):
            raise Refused("not on the list of sizes")
        if level == 1 and one[2] and not three:
            raise Refused("no w,h")
    else:
        raise Refused(found[1])
    if three and (size[0] > width or size[1] > height):
        raise Refused("upscaled")
    if max(size) > most:
        raise Refused("over maxWidth")
    return size


def service_of(version: int, level: int, most: int | None, sizes: list[dict[str, int]]) -> dict[str, Any]:
    limits = {"maxWidth": most} if most else {}
    if version == 3:
        kind: dict[str, Any] = {
            "id": "https://i.example/x",
            "type": "ImageService3",
            "profile": f"level{level}",
            **limits,
        }
    else:
        name = f"http://iiif.io/api/image/2/level{level}.json"
        kind = {"@context": "http://iiif.io/api/image/2/context.json", "@id": "https://i.example/x"}
        kind["profile"] = [name, limits] if limits else name
    return kind | ({"sizes": sizes} if sizes else {})


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([2, 3]),
    st.sampled_from([0, 1, 2]),
    st.integers(1, 9000),
    st.integers(1, 9000),
    st.integers(1, 4000),
    st.none() | st.integers(16, 5000),
)
@example(3, 2, 100, 80, 512, None)
@example(3, 1, 400, 4000, 512, None)
@example(2, 2, 3000, 2000, 512, 256)
@example(2, 0, 3000, 2000, 512, None)
def test_every_url_is_one_that_a_true_server_answers(
    version: int, level: int, width: int, height: int, size: int, most: int | None
) -> None:
    listed = (
        [{"width": max(1, width // n), "height": max(1, height // n)} for n in (8, 4, 2, 1)]
        if level == 0
        else []
    )
    service = service_of(version, level, None if level == 0 else most, listed)
    got = serves(image_url(service, size, (width, height)), service, width, height)
    assert (
        abs(got[0] / got[1] - width / height) <= max(1.5 / got[1] * max(1, width / height), 0.5)
        or min(got) <= 2
    )
    if level and (most or size) >= size:
        assert max(got) <= max(size, 1) or max(width, height) <= size


def test_sizes_of_each_level() -> None:
    three = {"id": "https://i.example/x", "type": "ImageService3"}
    assert image_url({**three, "profile": "level2"}, 512, (4000, 3000)).endswith(
        "/full/!512,512/0/default.jpg"
    )
    assert image_url({**three, "profile": "level1"}, 512, (3000, 4000)).endswith("/full/,512/0/default.jpg")
    sizes = [{"width": 300, "height": 200}, {"width": 600, "height": 400}, {"width": 1200, "height": 800}]
    level0 = {**three, "profile": "level0", "sizes": sizes}
    assert image_url(level0, 512, (2400, 1600)).endswith("/full/600,400/0/default.jpg")
    assert image_url(level0, 5000, (2400, 1600)).endswith("/full/1200,800/0/default.jpg")
    del level0["sizes"]
    assert (
        image_url(level0, 512, (2400, 1600), "https://i.example/whole.jpg") == "https://i.example/whole.jpg"
    )
    one = {
        "@context": "http://library.stanford.edu/iiif/image-api/1.1/context.json",
        "@id": "https://i.example/x",
    }
    profile = "http://library.stanford.edu/iiif/image-api/1.1/compliance.html#level2"
    assert image_url({**one, "profile": profile}, 512, (4000, 3000)).endswith("/full/!512,512/0/native.jpg")
    assert (
        image_service(
            {"service": [{"@id": "https://a.example/login", "profile": "http://iiif.io/api/auth/1/login"}]}
        )
        is None
    )
