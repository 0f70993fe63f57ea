"""Trains one network for some steps again and again: `step_worker.py KIND SETTINGS`, which are JSON.

KIND is ours, nanogpt or llama. Run by the interpreter of the peer's own environment, so only `ours` may import
anything of this project. Each kind is first timed in all its settings (float32 and bfloat16, compiled and not), and
works with the fastest. The state is kept: every work goes on training.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TRIAL = 5
Step = Callable[[Tensor, Tensor], Tensor]
"""One optimizer step on ids and wanted ids `[rows, length]`; its loss."""
LR, BETAS, DECAY = 3e-3, (0.9, 0.95), 0.0


class Block(nn.Module):
    """GPT-2's: LayerNorm, causal attention, LayerNorm, four times as wide with GELU; biases everywhere."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention, self.norm_feed = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        rows, length, width = x.shape
        qkv = self.qkv(self.norm_attention(x)).view(rows, length, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(rows, length, width))
        return x + self.down(F.gelu(self.up(self.norm_feed(x)), approximate="tanh"))


class NanoGPT(nn.Module):
    """GPT-2 as nanoGPT trains it: learned positions, a head tied to the embedding."""

    def __init__(self, ids: int, length: int, width: int, depth: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.ids, self.positions = nn.Embedding(ids, width), nn.Embedding(length, width)
        self.blocks = nn.ModuleList(Block(width, heads, hidden) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, ids, bias=False)
        self.head.weight = self.ids.weight
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                last = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(weight, std=0.02 / (2 * depth) ** 0.5 if last else 0.02)

    def forward(self, ids: Tensor, targets: Tensor) -> Tensor:
        x = self.ids(ids) + self.positions(torch.arange(ids.shape[1], device=ids.device))
        for block in self.blocks:
            x = block(x)
        logits = self.head(self.norm(x))
        return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=-1)


class Llama(nn.Module):
    """Llama of transformers, with its loss."""

    def __init__(
        self, ids: int, length: int, width: int, depth: int, heads: int, hidden: int, kv_heads: int = 0
    ) -> None:
        super().__init__()
        from transformers import LlamaConfig, LlamaForCausalLM

        config = LlamaConfig(
            vocab_size=ids,
            hidden_size=width,
            num_hidden_layers=depth,
            num_attention_heads=heads,
            num_key_value_heads=kv_heads or heads,
            intermediate_size=round(2 * hidden / 3 / 8) * 8,  # three matrices instead of two
            max_position_embeddings=length,
            tie_word_embeddings=True,
            attn_implementation="sdpa",  # type: ignore[call-arg]
            use_cache=False,
        )
        self.network = LlamaForCausalLM(config)

    def forward(self, ids: Tensor, targets: Tensor) -> Tensor:
        logits = self.network(input_ids=ids).logits
        return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=-1)


def peer(network: nn.Module, *, bf16: bool, compiled: bool, device: str = "cpu") -> Step:
    """Trains as nanoGPT does: autocast, fused AdamW, gradients clipped at 1."""
    network = network.to(device)
    call = torch.compile(network) if compiled else network
    optimizer = torch.optim.AdamW(network.parameters(), lr=LR, betas=BETAS, weight_decay=DECAY, fused=True)

    def step(ids: Tensor, targets: Tensor) -> Tensor:
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            loss = call(ids, targets)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    return step


def peers(kind: str, told: dict[str, Any]) -> dict[str, Callable[[], Step]]:
    """The peer's settings by name, each with what makes it."""
    sizes = [told[name] for name in ("ids", "length", "width", "depth", "heads", "hidden")]
    made = {"nanogpt": NanoGPT, "llama": Llama}[kind]

    def make(bf16: bool, compiled: bool) -> Step:
        return peer(made(*sizes), bf16=bf16, compiled=compiled)

    return {
        f"{'bf16' if bf16 else 'fp32'}{', compiled' if compiled else ''}": partial(make, bf16, compiled)
        for bf16 in (False, True)
        for compiled in (False, True)
    }


def ours(told: dict[str, Any]) -> tuple[dict[str, Callable[[], Callable[..., Tensor]]], list[tuple[Any]]]:
    """Our network's settings, with AdamW as the peers have it, and the batches."""
    from benchmarks.rig import made_corpus
    from model import losses
    from model.batches import Batch, Batches
    from model.config import BatchConfig, OptimizerConfig, TrainConfig
    from model.machine import keep_freed_memory
    from model.optim import Optimizer
    from model.parallel import Piece, Workers
    from model.transformer import MATRICES, Transformer

    keep_freed_memory()
    config = made_corpus.model("tiny")
    drawn = BatchConfig(rows=told["rows"], row_length=told["length"])
    batches = Batches(
        made_corpus.corpus(told["pictures"]), drawn, config, made_corpus.vocabulary(), told["seed"]
    )
    ready = [batches.batch(step) for step in range(told["batches"])]

    def make(bf16: bool) -> Callable[[Batch], Tensor]:
        network = Transformer(config).initialise(0)
        network.bf16 = bf16
        workers = Workers(TrainConfig(steps=1))
        workers.spread(told["threads"])
        workers.lanes.__enter__()
        settings = OptimizerConfig(name="adamw", lr=LR, betas=BETAS, warmup=0, schedule="constant")
        rule = Optimizer(network, settings, matrices=MATRICES, bf16=bf16, lanes=workers.lanes)
        add = workers.prepare(network)

        def of(piece: Piece, counts: list[int]) -> list[Tensor]:
            return losses.per_modality(network.targets(piece[0].tokens(), piece[0].targets), counts)

        def step(batch: Batch) -> Tensor:
            counts = losses.counts(batch.targets, config.offsets)
            pieces: list[Piece] = [(rows, []) for rows in batch.shares(workers.pieces)]
            found = add(partial(of, counts=counts), pieces, [1.0, 0.25])
            rule.step(0, 1000)
            return found[0]

        return step

    return {"fp32": partial(make, False), "bf16": partial(make, True)}, [(batch,) for batch in ready]


def main(kind: str, told_json: str) -> None:
    """Says which setting is the fastest; then trains so many steps per line of standard input."""
    told = json.loads(told_json)
    torch.set_num_threads(told["threads"])
    torch.manual_seed(0)
    settings: Any
    batches: Any
    if kind == "ours":
        settings, batches = ours(told)
    else:
        from safetensors.torch import load_file

        rows = load_file(told["file"])
        settings, batches = peers(kind, told), list(zip(rows["ids"], rows["targets"], strict=True))
    took: dict[str, float] = {}
    steps: dict[str, Callable[..., Tensor]] = {}
    for name, make in settings.items():
        steps[name] = make()
        steps[name](*batches[0])
        took[name] = min(timed(steps[name], batches[:1])[0] for _ in range(TRIAL))
    best = min(took, key=took.__getitem__)
    step = steps[best]
    steps.clear()
    print(json.dumps({"setting": best, "tried": took, "torch": torch.__version__}), flush=True)
    done = 0
    for _ in sys.stdin:
        began = time.process_time()
        chosen = [batches[(done + i) % len(batches)] for i in range(told["steps"])]
        seconds, loss = timed(step, chosen)
        cpu = time.process_time() - began
        done += len(chosen)
        print(json.dumps({"seconds": seconds, "cpu": cpu, "loss": loss}), flush=True)


def timed(step: Callable[..., Tensor], batches: list[tuple[Any, ...]]) -> tuple[float, float]:
    """Seconds of so many steps, and the last one's loss."""
    began = time.perf_counter()
    for batch in batches:
        loss = step(*batch)
    value = float(loss)
    return time.perf_counter() - began, value


if __name__ == "__main__":
    main(*sys.argv[1:])
