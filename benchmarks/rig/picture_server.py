"""Serves photographs drawn from noise: `picture_server.py COUNT`; prints its port, ends when its input closes.

640 x 480, JPEG of quality 90, kept in memory; `/<n>.jpg` for any n gives picture n modulo COUNT, all of them
different. One process, as little work as possible for each request: it takes its time from those that are measured.
"""

from __future__ import annotations

import asyncio
import io
import sys
from functools import lru_cache

import numpy as np
from PIL import Image

SIDES = (640, 480)
SCENES = 50


def photograph(number: int) -> bytes:
    """One of fifty scenes, shifted sideways: no two of the first ten thousand are alike."""
    shifted = np.roll(scene(number % SCENES), 3 * (number // SCENES), axis=1)
    out = io.BytesIO()
    Image.fromarray(shifted).save(out, "JPEG", quality=90)
    return out.getvalue()


@lru_cache(SCENES)
def scene(number: int) -> np.ndarray:
    """Smooth colours with edges and grain, so that it compresses as a photograph does; the same for equal numbers."""
    draw = np.random.default_rng(number)
    coarse = draw.integers(0, 256, (9, 12, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize(SIDES, Image.Resampling.BICUBIC), np.float32)
    y, x = np.mgrid[: SIDES[1], : SIDES[0]]
    for _ in range(6):
        cx, cy, radius = draw.integers(0, 640), draw.integers(0, 480), draw.integers(20, 140)
        smooth[(x - cx) ** 2 + (y - cy) ** 2 < radius**2] += draw.integers(-70, 70, 3)
    grain = draw.normal(0, 4, (SIDES[1], SIDES[0], 1))
    return (smooth + grain).clip(0, 255).astype(np.uint8)


class Answer(asyncio.Protocol):
    """One connection."""

    answers: list[bytes]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport, self.asked = transport, b""

    def data_received(self, data: bytes) -> None:
        self.asked += data
        while (end := self.asked.find(b"\r\n\r\n")) >= 0:
            request, self.asked = self.asked[:end], self.asked[end + 4 :]
            path = request.split(b" ", 2)[1][1:]
            number = path.partition(b".")[0]
            found = self.answers[int(number) % len(self.answers)] if number.isdigit() else None
            self.transport.write(found or b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")  # type: ignore
            if b"connection: close" in request.lower():
                self.transport.close()


async def main(count: int) -> None:
    pictures = [photograph(number) for number in range(count)]
    head = "HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n"
    Answer.answers = [head.format(len(picture)).encode() + picture for picture in pictures]
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Answer, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
