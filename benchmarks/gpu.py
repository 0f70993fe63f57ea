"""How much of a GPU does training use, and how does it compare with Llama of transformers of the same size?

`python -m benchmarks gpu` does it all in one call: the presets small and base, and large where memory allows, each with
as many weights as Llama has (within 2 of 100; dense, so that all weights act on every token), in bfloat16 with AdamW, on
the same rows of 1,024 tokens, by turns. Ours runs with FlexAttention's document masks, and with a written-out mask for
comparison; Llama compiled and not, at its fastest. Printed for each size: tokens per second, model FLOP utilisation, peak
memory, and the losses of the first `--size` steps. MFU = tokens/s x (6 N + 6 d L T) / 989e12: N weights that act on a
token without the embedding tables (the head counts), d the width, L the layers, T the row length, half of 12 d L T
because attention is causal; 989e12 is an H100's or H200's dense bfloat16 peak. The limit is that peak in tokens a second.
Quality is the loss after those steps: ours is over its own targets, so that the two are not comparable. Without a GPU it
says so, and ends with 0.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import torch

from benchmarks.rig import made_corpus
from benchmarks.rig.contract import Bench, NotHere, Result
from benchmarks.rig.step_worker import Llama, peer
from model import losses
from model.batches import Batch, Batches
from model.config import BatchConfig, OptimizerConfig
from model.optim import Optimizer
from model.transformer import MATRICES, Transformer

SIZE = 30
"""Steps of a loss curve."""
PAIRS = 5
GOAL = 1.0
GOALS = {"small": 0.0, "base": 0.40, "large": 0.45}
"""MFU."""
PEAK = 989e12
LENGTH, PICTURES, SEED, TURN = 1024, 5000, 0, 5
ROWS = {"small": 64, "base": 32, "large": 8}
NEEDS_GIB = {"small": 8, "base": 30, "large": 70}
Step = Callable[[Batch], torch.Tensor]


def run(bench: Bench) -> list[Result]:
    """A result for each size that the GPU has the memory for."""
    if not torch.cuda.is_available():
        raise NotHere("there is no GPU here: torch.cuda.is_available() is False")
    memory = torch.cuda.get_device_properties(0).total_memory / 2**30
    print(f"{torch.cuda.get_device_name(0)}, {memory:.0f} GiB, torch {torch.__version__}", flush=True)
    return [measured(bench, size) for size, need in NEEDS_GIB.items() if need < memory]


def measured(bench: Bench, size: str) -> Result:
    """One preset against a Llama of its size."""
    config = made_corpus.model(size, dense=True, embed_levels=False, neighbours="none")
    drawn = BatchConfig(rows=ROWS[size], row_length=LENGTH, texts_per_picture=3)
    batches = Batches(made_corpus.corpus(PICTURES), drawn, config, made_corpus.vocabulary(), SEED)
    made = [batches.batch(step) for step in range(bench.size)]
    sides: dict[str, Callable[[], Step]] = {
        f"ours, {name}": partial(ours, config, flex) for name, flex in (("flex", True), ("mask", False))
    }
    shape = (config.size, LENGTH, config.width, config.depth, config.heads, config.hidden, config.kv_heads)
    sides |= {
        f"llama{name}": partial(llama, shape, compiled)
        for name, compiled in (("", False), (", compiled", True))
    }
    rates, last, peaks = {}, {}, {}
    for name, make in sides.items():  # one at a time: both do not fit in memory together at the largest size
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        step = make()
        curve = [float(step(batch)) for batch in made]
        turns = [timed(step, made[:TURN]) for _ in range(bench.pairs)]
        rates[name] = TURN * ROWS[size] * LENGTH / median(turns)
        last[name], peaks[name] = curve[-1], torch.cuda.max_memory_allocated() / 2**30
        shown = ", ".join(f"{loss:.3f}" for loss in curve[:: max(1, len(curve) // 10)])
        print(
            f"{size}: {name}: {rates[name]:,.0f} tok/s, MFU {utilisation(config, rates[name]):.1%}, "
            f"{peaks[name]:.1f} GiB, losses {shown}",
            flush=True,
        )
        del step
    best, other = (
        max((n for n in rates if n.startswith(w)), key=rates.__getitem__) for w in ("ours", "llama")
    )
    share = utilisation(config, rates[best])
    print(
        f"{size}: MFU {share:.1%} (goal {GOALS[size]:.0%}), {weights(config) / 1e6:.0f}M weights", flush=True
    )
    return Result(
        name="gpu",
        ours=rates[best],
        peer=rates[other],
        peer_name=f"transformers {other}, {size}, MFU of {best} {share:.3f}",
        unit="tok/s",
        ratio=rates[best] / rates[other],
        limit=rates[best] / share,
        quality_ours=last[best],
        quality_peer=last[other],
    )


def weights(config: Any) -> int:
    """Weights that act on a token: layers and head, counted without making them."""
    with torch.device("meta"):
        network = Transformer(config)
    return sum(w.numel() for name, w in network.named_parameters() if not name.startswith("embeddings."))


def utilisation(config: Any, rate: float) -> float:
    """MFU of so many tokens a second: the formula above."""
    return rate * (6 * weights(config) + 6 * config.width * config.depth * LENGTH) / PEAK


def ours(config: Any, flex: bool) -> Step:
    """A step of our network on the GPU."""
    network = Transformer(config).initialise(SEED).cuda()
    network.bf16 = True
    network.compile_experts()
    settings = OptimizerConfig(name="adamw", warmup=0, schedule="constant", lr=3e-4)
    rule = Optimizer(network, settings, matrices=MATRICES, bf16=True)

    def step(batch: Batch) -> torch.Tensor:
        counts = losses.counts(batch.targets, config.offsets)
        pairs = network.targets(batch.tokens("cuda", flex=flex), batch.targets.cuda())
        each = losses.per_modality(pairs, counts)
        losses.weighted(each, [1.0, 0.25]).backward()
        rule.step(0, 1000)
        return each[0].detach()

    return step


def llama(shape: tuple[int, ...], compiled: bool) -> Step:
    """A step of Llama on the same rows: every next token."""
    call = peer(Llama(*shape), bf16=True, compiled=compiled, device="cuda")

    def step(batch: Batch) -> torch.Tensor:
        ids = batch.ids.cuda().long()
        targets = torch.full_like(ids, -1)
        targets[:, :-1] = ids[:, 1:]
        return call(ids, targets.masked_fill(batch.units.cuda() < 0, -1))

    return step


def timed(step: Step, batches: list[Batch]) -> float:
    """Seconds of so many steps."""
    torch.cuda.synchronize()
    began = time.perf_counter()
    for batch in batches:
        step(batch)
    torch.cuda.synchronize()
    return time.perf_counter() - began
