"""How many captions a second does the server give 16 clients, against one that calls transformers' generate for each?

Measured: `--size` requests for a caption of a picture of its own (PNG, 32 pixels, up to 24 new tokens, the likeliest), by
16 clients at once that each wait for their answer, over HTTP on loopback. Both servers serve the same exported folder of the
preset tiny (random weights, so that every answer has its full length) with one thread for the network; the peer takes one
request at a time, as a first server does. By turns after a warm-up. Not measured: loading. The limit is what `generate` does
with 16 such rows at once, with no server around it. Quality is the 95th percentile of the seconds that a client waits (less is
better); the line before tells how many answers are equal.
"""

from __future__ import annotations

import base64
import io
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import numpy as np
from PIL import Image

from benchmarks.rig.contract import Bench, Result
from benchmarks.rig.peers import Worker

SIZE = 320
GOAL = 3.0
PAIRS = 5
CLIENTS, TOKENS, SIDE = 16, 24, 32
SCRIPT = Path(__file__).parent / "rig" / "serve_worker.py"
SPREAD = 0.1
"""Standard deviation of weights that would be 0 before training."""


def run(bench: Bench) -> list[Result]:
    """One result."""
    folder = bench.folder("serve") / "exported"
    model, tokenizers = made()
    if not (folder / "config.json").exists():
        from model import hub

        folder.mkdir(exist_ok=True)
        hub.export(model, tokenizers, folder)
    urls = [data_url(one) for one in pictures(bench.size)]
    seconds: dict[str, list[float]] = {"ours": [], "naive": []}
    waits: dict[str, list[float]] = {"ours": [], "naive": []}
    said: dict[str, list[str]] = {}
    with ExitStack() as stack:
        ports = {}
        for kind in seconds:
            worker = Worker(Path(sys.executable), SCRIPT, kind, str(folder), ours=True)
            stack.callback(worker.stop)
            ports[kind] = worker.about["port"]
        for turn in range(bench.pairs + 1):
            for kind, port in ports.items():
                took, waited, said[kind] = asked(port, urls)
                if turn:  # the first warms up
                    seconds[kind].append(took)
                    waits[kind] += waited
    equal = sum(one == other for one, other in zip(said["ours"], said["naive"], strict=True))
    print(f"{equal} of {bench.size} answers are equal", flush=True)
    return [result(bench, seconds, waits, limit(model, tokenizers))]


def result(
    bench: Bench, seconds: dict[str, list[float]], waits: dict[str, list[float]], limit: float
) -> Result:
    """What was measured, as a line."""
    p95 = {kind: float(np.quantile(found, 0.95)) for kind, found in waits.items()}
    return Result(
        name="serve",
        ours=bench.size / median(seconds["ours"]),
        peer=bench.size / median(seconds["naive"]),
        peer_name=f"transformers generate, one request at a time; {CLIENTS} clients, one thread",
        unit="requests/s",
        ratio=median(theirs / own for theirs, own in zip(seconds["naive"], seconds["ours"], strict=True)),
        limit=limit,
        quality_ours=p95["ours"],
        quality_peer=p95["naive"],
    )


def made() -> tuple[Any, Any]:
    """A model with random weights everywhere, and tokenizers that were hardly fitted: what they say does not matter here."""
    import torch
    from tokenizers import Tokenizer

    from model.config import ImageTokenizerConfig, Vocabulary
    from model.generate import Model
    from model.image_tokenizer import fit
    from model.sequences import Sequences
    from model.tokenizers import Tokenizers
    from model.transformer import Transformer
    from pipeline.tokens import text_bpe

    torch.set_num_threads(1)
    words = [
        f"a {one} picture of {other}" for one in ("dark", "light", "red") for other in ("stars", "hearts")
    ]
    text = Tokenizer.from_str(text_bpe.fit(words, 330, ["en"], ["caption", "vqa"]).decode())
    text.encode_special_tokens = True
    image = fit(pictures(64), ImageTokenizerConfig(size=SIDE, steps=5, width=8, threads=1))
    tokenizers = Tokenizers(text, image)
    config = tokenizers.model_config("tiny")
    network: Any = Transformer(config).initialise(0)
    drawn = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in network.parameters():
            if not weight.any():
                weight.copy_(torch.randn(weight.shape, generator=drawn) * SPREAD)
    vocabulary = Vocabulary.of(text.get_vocab())
    return Model(network.eval().requires_grad_(False), Sequences(config, vocabulary)), tokenizers


def pictures(n: int) -> np.ndarray:
    """uint8 `[n, side, side, 3]`: noise over a colour, from seed 0."""
    rng = np.random.default_rng(0)
    colours = rng.integers(20, 235, (n, 1, 1, 3))
    return np.clip(colours + rng.integers(-20, 20, (n, SIDE, SIDE, 3)), 0, 255).astype(np.uint8)


def data_url(pixels: np.ndarray) -> str:
    """A picture as a `data:` URL."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


def asked(port: int, urls: Sequence[str]) -> tuple[float, list[float], list[str]]:
    """Seconds for all, seconds that each waited, and what was said."""

    def ask(url: str) -> tuple[float, str]:
        content = [{"type": "image_url", "image_url": {"url": url}}]
        body = {"model": "millrace", "messages": [{"role": "user", "content": content}], "max_tokens": TOKENS}
        began = time.perf_counter()
        told = client.post("/v1/chat/completions", json=body).raise_for_status().json()
        return time.perf_counter() - began, told["choices"][0]["message"]["content"]

    with (
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=300) as client,
        ThreadPoolExecutor(CLIENTS) as all_,
    ):
        began = time.perf_counter()
        heard = list(all_.map(ask, urls))
        took = time.perf_counter() - began
    return took, [one for one, _ in heard], [text for _, text in heard]


def limit(model: Any, tokenizers: Any) -> float:
    """Captions a second of `generate` alone, 16 rows at once."""
    from model.generate import Sampling, generate

    codes = tokenizers.image.encode(pictures(CLIENTS))
    prompts = [[*model.sequences.picture(one), *model.sequences.question("en", "caption")] for one in codes]
    sampling, took = Sampling(max_tokens=TOKENS, modalities="text"), []
    for _ in range(5):
        began = time.perf_counter()
        generate(model, prompts, sampling)
        took.append(time.perf_counter() - began)
    return CLIENTS / median(took)
