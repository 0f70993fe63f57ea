"""A web server that misbehaves on purpose, for the tests of collecting: each path is a trouble of its own.

Run as a program it serves on a free port of 127.0.0.1, which it prints; it answers for any number of host names.
`/ok/<n>.png` is a picture, `/slow/<n>` never answers, `/asked` tells how often each path was asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
import json
import sys
from collections import Counter

from PIL import Image

ASKED: Counter[str] = Counter()
BOMB = gzip.compress(bytes(32 << 20))


def picture(number: int, side: int = 24) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (side, side), (number % 256, number // 256 % 256, 90)).save(out, "PNG")
    return out.getvalue()


def head(status: str = "200 OK", **headers: object) -> bytes:
    lines = [f"HTTP/1.1 {status}", *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def whole(content: bytes, status: str = "200 OK", **headers: object) -> bytes:
    return head(status, Content_Length=len(content), **headers) + content


async def drip(writer: asyncio.StreamWriter) -> None:
    writer.write(head(Content_Length=10_000))
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.2)


async def endless(writer: asyncio.StreamWriter) -> None:
    writer.write(head(Transfer_Encoding="chunked"))
    while True:
        writer.write(b"10000\r\n" + bytes(65536) + b"\r\n")
        await writer.drain()


async def mute(writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(600)


async def reset(writer: asyncio.StreamWriter) -> None:
    writer.write(head(Content_Length=1000) + b"x" * 10)
    await writer.drain()
    writer.transport.abort()


ACTS = {"/drip": drip, "/endless": endless, "/mute": mute, "/reset": reset}
ANSWERS = {
    "/short": head(Content_Length=1000, Connection="close") + b"x" * 10,
    "/chunks": head(Transfer_Encoding="chunked") + b"not a length\r\n",
    "/loop": whole(b"", "302 Found", Location="/loop"),
    "/file": whole(b"", "302 Found", Location="file:///etc/passwd"),
    "/metadata": whole(b"", "302 Found", Location="http://169.254.169.254/latest/meta-data"),
    "/inside": whole(b"", "302 Found", Location="http://10.0.0.1/"),
    "/later": whole(b"", "429 Too Many Requests", Retry_After=7200),
    "/broken": whole(b"", "500 Internal Server Error"),
    "/gone": whole(b"", "410 Gone"),
    "/bomb": whole(BOMB, Content_Encoding="gzip"),
    "/packed": whole(gzip.compress(picture(7)), Content_Encoding="gzip", Content_Type="image/png"),
    "/html": whole(b"<!doctype html><p>Not found", Content_Type="image/png"),
    "/empty": whole(b"", Content_Type="image/png"),
    "/huge": head(Content_Length=300 << 20),
    "/noai": whole(picture(1), X_Robots_Tag="noai, noimageai"),
    "/other-bot": whole(picture(2), X_Robots_Tag="otherbot: noai"),
    "/reserved": whole(picture(3), tdm_reservation="1"),
}
OUTCOMES = {
    "/drip": "deadline", "/endless": "too_large", "/mute": "deadline", "/reset": "incomplete", "/short": "incomplete",
    "/chunks": "incomplete", "/loop": "too_many_redirects", "/file": "forbidden_address",
    "/metadata": "forbidden_address", "/inside": "forbidden_address", "/broken": "http_500", "/gone": "http_410",
    "/bomb": "too_large", "/huge": "too_large", "/packed": "ok", "/html": "ok", "/empty": "ok",
}  # fmt: skip
"""What the ledger should say of each, with a limit of 1 MB."""
DROPPED = {"/html": "not_an_image", "/empty": "not_an_image", "/packed": None}
"""What becomes of the row where the ledger says ok."""


async def answer(path: str, host: str, writer: asyncio.StreamWriter) -> None:
    """Whatever the path stands for; a host may have a robots.txt of its own, or one that never comes."""
    if path == "/asked":
        writer.write(whole(json.dumps(ASKED).encode()))
        return
    ASKED[path] += 1
    if path == "/robots.txt":
        kind = host.partition(".")[0].rstrip("0123456789")
        if kind == "mute":
            await mute(writer)
            return
        answers = {
            "strict": whole(b"User-agent: *\nDisallow: /private\nCrawl-delay: 0.2\n"),
            "down": whole(b"", "503 Busy", Retry_After=0),
            "closed": whole(b"User-agent: *\nDisallow: /\n"),
        }
        writer.write(answers.get(kind, whole(b"", "404 Not Found")))
    elif path == "/.well-known/tdmrep.json":
        rules = [{"location": "/ok/1*", "tdm-reservation": 1, "tdm-policy": "https://example.org/p"}]
        writer.write(
            whole(json.dumps(rules).encode()) if host.startswith("tdm") else whole(b"", "404 Not Found")
        )
    elif path in ACTS:
        await ACTS[path](writer)
    elif path.startswith("/slow/"):
        await mute(writer)
    elif path.startswith("/ok/"):
        writer.write(whole(picture(int(path[4:].partition(".")[0])), Content_Type="image/png", ETag='"v1"'))
    elif path.startswith("/once/"):  # fails at first, and is there the second time
        writer.write(whole(picture(9)) if ASKED[path] > 1 else whole(b"", "503 Busy"))
    else:
        writer.write(ANSWERS.get(path, whole(b"", "404 Not Found")))


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        while True:
            request = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            host = next((x[6:] for x in request.split("\r\n") if x.lower().startswith("host: ")), "")
            path = request.split(" ", 2)[1]
            await answer(path, host, writer)
            await writer.drain()
            if path == "/short":
                break
    writer.close()


async def main() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    stdin = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)  # ends with whoever started it
    await stdin


if __name__ == "__main__":
    asyncio.run(main())
