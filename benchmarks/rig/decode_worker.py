"""Writes tokens again and again with one model: `decode_worker.py KIND ROWS NEW`.

Run by the interpreter of the peer's own environment, so only `ours` may import anything of this project.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

VOCABULARY, PROMPT = 2048, 16
FIRST = 8
"""Ids below are special."""
SPREAD = 0.1
"""Standard deviation of weights that would be 0 before training."""

Work = Callable[[], list[list[int]]]
Prepared = tuple[Work, dict[str, Any]]


def prompts(rows: int) -> list[list[int]]:
    """The same for every kind."""
    import torch

    drawn = torch.Generator().manual_seed(rows)
    return torch.randint(FIRST, VOCABULARY, (rows, PROMPT), generator=drawn).tolist()


def ours(rows: int, new: int) -> Prepared:
    """The preset tiny, with random weights everywhere."""
    import torch

    from model.config import ModelConfig, Vocabulary, text_and_image
    from model.generate import Model, Sampling, generate
    from model.sequences import Sequences
    from model.tokens import Tokens
    from model.transformer import Transformer

    names = ("<pad>", "<bos>", "<eos>", "<sep>", "<boi>", "<eoi>")
    vocabulary = Vocabulary(size=VOCABULARY, specials={name: i for i, name in enumerate(names)})
    config = ModelConfig.preset("tiny", text_and_image(vocabulary, 1000, (8, 8), (8, 5, 5, 5)))
    network: Any = Transformer(config).initialise(0)
    drawn = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in network.parameters():
            if not weight.any():
                weight.copy_(torch.randn(weight.shape, generator=drawn) * SPREAD)
    model = Model(network.eval().requires_grad_(False), Sequences(config, vocabulary))
    asked, sampling = prompts(rows), Sampling(max_tokens=new, modalities="text")

    def work() -> list[list[int]]:
        return generate(model, asked, sampling, stop=())

    def logits(ids: list[list[int]]) -> torch.Tensor:
        read = torch.tensor(ids)
        places = torch.arange(read.shape[1]).expand(*read.shape)
        found = network(Tokens(read, places[..., None].expand(-1, -1, 2), torch.zeros_like(read)))
        found[..., vocabulary["<boi>"]] = float("-inf")
        return found

    experts = [layer.experts[0] for layer in network.layers]
    matrices = [m.weight for e in experts for m in (e.qkv, e.out, e.up, e.down)] + [network.heads[0].weight]
    active = [network.embeddings[0], *experts, network.heads[0], network.norms[0]]
    about = {
        "parameters": sum(weight.numel() for part in active for weight in part.parameters()),
        "limit_seconds": new * products(matrices, rows),
        "agreement": agreement(asked, work(), logits),
    }
    return work, about


def products(matrices: list[Any], rows: int) -> float:
    """CPU seconds of one row of all matrix products, at their best."""
    import torch
    import torch.nn.functional as F

    states = [torch.randn(rows, matrix.shape[1]) for matrix in matrices]

    def once() -> None:
        for x, matrix in zip(states, matrices, strict=True):
            F.linear(x, matrix)

    return min(timed(once)[0] for _ in range(50))


def llama(rows: int, new: int, **options: Any) -> Prepared:
    """transformers' Llama with three matrices in a feed-forward layer, hence two thirds of our width inside."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=128,
        intermediate_size=341,
        num_hidden_layers=6,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=None,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config).eval().requires_grad_(False)
    asked = torch.tensor(prompts(rows))
    settings = {
        "max_new_tokens": new,
        "do_sample": False,
        "attention_mask": torch.ones_like(asked),
        **options,
    }

    def work() -> list[list[int]]:
        with torch.no_grad():
            return model.generate(asked, **settings)[:, PROMPT:].tolist()

    def logits(ids: list[list[int]]) -> torch.Tensor:
        with torch.no_grad():
            return model(torch.tensor(ids)).logits

    about = {
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "version": version("transformers"),
        "agreement": agreement(prompts(rows), work(), logits),
    }
    return work, about


def compiled(rows: int, new: int) -> Prepared:
    """The way that transformers takes on a GPU, allowed on a CPU too."""
    from transformers.generation import CompileConfig

    how: Any = CompileConfig(fullgraph=True, mode="default")
    how._compile_all_devices = True
    return llama(rows, new, cache_implementation="static", compile_config=how)


def agreement(
    asked: list[list[int]], made: list[list[int]], logits: Callable[[list[list[int]]], Any]
) -> float:
    """Share of the new ids that are the likeliest when all is read at once."""
    found = logits([prompt + ids for prompt, ids in zip(asked, made, strict=True)]).argmax(-1)
    likeliest = [row[PROMPT - 1 : -1] for row in found.tolist()]
    pairs = [
        pair for one, other in zip(made, likeliest, strict=True) for pair in zip(one, other, strict=True)
    ]
    return sum(a == b for a, b in pairs) / len(pairs)


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds, and what was made: a busy machine does not count."""
    began = time.process_time()
    made = work()
    return time.process_time() - began, made


def main(kind: str, rows: str, new: str) -> None:
    """Says that it is ready; works once per line of standard input."""
    import torch

    torch.set_num_threads(1)
    prepare = {"ours": ours, "dynamic": llama, "compiled": compiled}[kind]
    work, about = prepare(int(rows), int(new))
    print(json.dumps(about), flush=True)
    for _ in sys.stdin:
        print(json.dumps({"seconds": timed(work)[0]}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
