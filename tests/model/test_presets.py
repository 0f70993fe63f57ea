"""The dial: how large each preset is, and how a mixture and its dense control are made comparable."""

from __future__ import annotations

import pytest
import torch

from model.config import ModelConfig, Vocabulary, text_and_image
from model.transformer import Transformer

SPECIALS = {name: i for i, name in enumerate(("<pad>", "<bos>", "<eos>", "<sep>", "<boi>", "<eoi>"))}


def made(preset: str, **changes: object) -> Transformer:
    """A network without memory for its weights."""
    modalities = text_and_image(Vocabulary(size=2048, specials=SPECIALS), 1000, (8, 8), (8, 5, 5, 5))
    with torch.device("meta"):
        return Transformer(ModelConfig.preset(preset, modalities, **changes))


def weights(network: Transformer, part: str) -> int:
    return sum(weight.numel() for name, weight in network.named_parameters() if part in name)


@pytest.mark.parametrize(("preset", "millions"), [("tiny", 3), ("small", 10), ("base", 125), ("large", 1000)])
def test_presets_are_as_large_as_they_say(preset: str, millions: int) -> None:
    assert 0.7 * millions < made(preset).parameter_count() / 1e6 < 1.4 * millions


@pytest.mark.parametrize("preset", ["tiny", "small", "base", "large"])
def test_dense_has_the_weights_that_act_on_a_token_or_with_a_wider_inside_all_of_them(preset: str) -> None:
    mixture, dense = made(preset), made(preset, dense=True)
    assert weights(dense, ".experts.") == weights(mixture, ".experts.0.")  # equal active
    width, kv = mixture.config.width, 2 * mixture.config.kv_heads * mixture.config.channels
    hidden = 2 * mixture.config.hidden + (2 * width + kv) // 2
    equal = made(preset, dense=True, hidden=hidden)
    assert abs(weights(equal, ".experts.") / weights(mixture, ".experts.") - 1) < 0.01  # equal total
