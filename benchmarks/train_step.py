"""How many tokens a second does training take, against a nanoGPT-style network and Llama of transformers?

Measured: one optimizer step (forward, backward, clipping, AdamW) of the preset tiny over packed rows that lie ready, 32
of 160 tokens, `--size` steps a turn, all sides by turns in processes of their own, on all cores. The peers have the same
rows, vocabulary and threads, and as many weights that act on a token: six layers of width 128, four times as wide inside
(Llama's three matrices two thirds of that), their one embedding tied to the head. They attend to all that precedes in the
row and predict every next token; ours keeps the documents of a row apart, gives images their own weights, and computes
logits only where a target is and nothing for padding, which is what it does in training. Tokens are the places of the
rows, padding included, for all sides. Each side is timed in float32 and bfloat16, the peers also compiled, and then
works with its fastest. The peers' environment sees our torch by a .pth file. The limit is bfloat16 (or float32, if that
is faster) matrix products of 1024 by 1024 on as many threads, for the arithmetic of our layers and heads alone: 6 per
weight and real token. Quality is the loss at the end, over what a side learns: two sides' losses are not comparable.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.rig.contract import Bench, Result
from benchmarks.rig.peers import Worker, by_turns, environment

SIZE = 4
PAIRS = 7
GOAL = 1.2
"""Against nanoGPT; Llama's is 1.5."""
GOALS = {"nanogpt": 1.2, "llama": 1.5}
ROWS, LENGTH, PICTURES, BATCHES, SEED = 32, 160, 2000, 4, 0
SCRIPT = Path(__file__).parent / "rig" / "step_worker.py"
TITLES = {"nanogpt": "nanoGPT-style", "llama": "transformers Llama"}


def run(bench: Bench) -> list[Result]:
    """A result for each peer."""
    told, arithmetic = prepared(bench)
    kinds = ["ours", *TITLES]
    with ExitStack() as stack:
        workers = {}
        for kind in kinds:
            python = (
                Path(sys.executable) if kind == "ours" else environment(bench, "transformers", torch=True)
            )
            workers[kind] = Worker(
                python, SCRIPT, kind, json.dumps(told), ours=kind == "ours", threads=told["threads"]
            )
            stack.callback(workers[kind].stop)
            print(f"{kind}: {workers[kind].about}", flush=True)
        turns = by_turns(list(workers.values()), bench.pairs)
        for worker in workers.values():
            worker.finish()
    tokens = bench.size * ROWS * LENGTH
    seconds = {kind: median(took) for kind, took in zip(kinds, turns, strict=True)}
    limit = tokens / (bench.size * arithmetic / best_product(told["threads"]))
    return [
        Result(
            name="train_step",
            ours=tokens / seconds["ours"],
            peer=tokens / seconds[peer],
            peer_name=f"{title}, {workers[peer].about['setting']}, {told['threads']} threads, goal {GOALS[peer]}",
            unit="tok/s",
            ratio=seconds[peer] / seconds["ours"],
            limit=limit,
            quality_ours=workers["ours"].last["loss"],
            quality_peer=workers[peer].last["loss"],
            cpu_ratio=workers[peer].last["cpu"] / workers["ours"].last["cpu"],
        )
        for peer, title in TITLES.items()
    ]


def prepared(bench: Bench) -> tuple[dict[str, Any], float]:
    """What the workers are told, and the arithmetic of one of our steps; the rows go to a file."""
    import torch
    from safetensors.torch import save_file

    from benchmarks.rig import made_corpus
    from model.batches import Batches
    from model.config import BatchConfig

    config, file = made_corpus.model("tiny"), bench.folder("train_step") / "rows.safetensors"
    drawn = BatchConfig(rows=ROWS, row_length=LENGTH)
    batches = Batches(made_corpus.corpus(PICTURES), drawn, config, made_corpus.vocabulary(), SEED)
    made = [batches.batch(step) for step in range(BATCHES)]
    ids, units = (torch.stack([getattr(batch, name) for batch in made]).long() for name in ("ids", "units"))
    targets = torch.full_like(ids, -1)
    targets[..., :-1] = ids[..., 1:]
    save_file({"ids": ids, "targets": targets.masked_fill(units < 0, -1)}, file)
    real, wanted = (float((x >= 0).sum()) / BATCHES for x in (units, torch.stack([b.targets for b in made])))
    kv = 2 * config.kv_heads * config.channels
    layer = config.width * (2 * config.width + kv + 2 * config.hidden)
    heads = config.width * config.size / len(config.modalities)
    sizes = {
        "ids": config.size,
        "width": config.width,
        "depth": config.depth,
        "heads": config.heads,
        "hidden": config.hidden,
    }
    batch = {"rows": ROWS, "length": LENGTH, "pictures": PICTURES, "batches": BATCHES, "seed": SEED}
    told = {"file": str(file), "steps": bench.size, "threads": os.cpu_count() or 1, **batch, **sizes}
    return told, 6 * (config.depth * layer * real + heads * wanted)


def best_product(threads: int) -> float:
    """Operations a second of the fastest matrix product."""
    import torch

    before, best = torch.get_num_threads(), 0.0
    torch.set_num_threads(threads)
    for dtype in (torch.float32, torch.bfloat16):
        a = torch.randn(1024, 1024).to(dtype)
        for _ in range(8):
            began = time.perf_counter()
            a @ a
            best = max(best, 2 * 1024**3 / (time.perf_counter() - began))
    torch.set_num_threads(before)
    return best
