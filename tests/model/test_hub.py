"""The model under transformers: its generation gives the ids of our own loop, and its loss is that of training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from model import hub, losses
from model.batches import Batches
from model.config import BatchConfig, TrainConfig
from model.corpus import Corpus
from model.generate import Model, Sampling, draw_pictures, generate
from model.hub import GPT4ForConditionalGeneration, GPT4Tokenizer, HubError
from model.tokenizers import Tokenizers

NetworkOf = Callable[..., Model]
VARIANTS = {
    "default": {},
    "plain": {"rope_2d": False, "neighbours": "none", "see_whole_picture": False, "dense": True},
    "around": {"neighbours": "around", "classes": ("light", "dark")},
}


@pytest.fixture(params=VARIANTS, scope="module")
def ours(request: pytest.FixtureRequest, byte_tokenizers: Tokenizers, network_of: NetworkOf) -> Model:
    return network_of(byte_tokenizers, **VARIANTS[request.param])


@pytest.fixture(scope="module")
def theirs(ours: Model, byte_tokenizers: Tokenizers, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("hub") / "model"
    hub.export(ours, byte_tokenizers, folder)
    return GPT4ForConditionalGeneration.from_pretrained(folder)


def prompts(model: Model, tokenizers: Tokenizers) -> list[list[int]]:
    """A translation, a picture to describe, one to draw, a question about a picture, and a picture after a text."""
    s, rng = model.sequences, np.random.default_rng(0)
    shown = s.picture(rng.integers(0, 25, s.codes))
    return [
        s.text("fr", "translate", tokenizers.encode("Hello, how are you?")),
        shown + s.question("en", "caption"),
        s.wish("en", tokenizers.encode("a dark picture")),
        shown + s.question("en", "vqa", tokenizers.encode("how dark is it")),
        [*s.text("en", None, tokenizers.encode("see")), *shown, *shown, *s.question("fr", "caption")],
        s.wish(),
    ]


def continued(model: Model, row: list[int], start: int) -> list[int]:
    """What was generated after a prompt, up to `<eos>`."""
    end, new = model.sequences.vocabulary["<eos>"], row[start:]
    return new[: new.index(end)] if end in new else new


# --- generation -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("use_cache", [True, False])
def test_greedy_ids_are_those_of_our_loop(
    ours: Model, theirs: Any, byte_tokenizers: Tokenizers, use_cache: bool
) -> None:
    told = set()
    for prompt in prompts(ours, byte_tokenizers):
        [wanted] = generate(ours, [prompt], Sampling(max_tokens=28))
        out = theirs.generate(torch.tensor([prompt]), max_new_tokens=28, use_cache=use_cache)
        assert continued(ours, out[0].tolist(), len(prompt)) == wanted
        told.add(tuple(wanted))
    assert len(told) > 3


@pytest.mark.parametrize("use_cache", [True, False])
def test_a_padded_batch_gives_each_row_what_it_gets_alone(
    ours: Model, theirs: Any, byte_tokenizers: Tokenizers, use_cache: bool
) -> None:
    rows = prompts(ours, byte_tokenizers)
    batch = GPT4Tokenizer.of(byte_tokenizers.text).padded(rows, padding=True, return_tensors="pt")
    assert (batch["attention_mask"][:, 0] == 0).any() and batch["attention_mask"][:, -1].all()
    out = theirs.generate(**batch, max_new_tokens=28, use_cache=use_cache).tolist()
    width = batch["input_ids"].shape[1]
    assert [continued(ours, row, width) for row in out] == generate(ours, rows, Sampling(max_tokens=28))


def test_a_drawn_picture_has_exactly_its_codes_and_then_its_end(
    ours: Model, theirs: Any, byte_tokenizers: Tokenizers
) -> None:
    s = ours.sequences
    caption = byte_tokenizers.encode("a dark picture")
    prompt = s.wish("en", caption)
    end = [s.vocabulary["<eoi>"], s.vocabulary["<eos>"]]
    out = theirs.generate(torch.tensor([prompt]), max_new_tokens=28, eos_token_id=end)[0].tolist()[
        len(prompt) :
    ]
    low = s.config.offsets[1]
    assert len(out) == s.codes + 1 and out[-1] == s.vocabulary["<eoi>"]
    codes = np.array(out[:-1]) - low
    assert (codes == draw_pictures(ours, [("en", caption)])[0]).all()


def test_guidance_is_that_of_our_loop(ours: Model, theirs: Any, byte_tokenizers: Tokenizers) -> None:
    s = ours.sequences
    captions = [byte_tokenizers.encode("a dark picture"), byte_tokenizers.encode("hello")]
    rows = [s.text("en", "caption"), *(s.wish("en", caption) for caption in captions)]
    batch = GPT4Tokenizer.of(byte_tokenizers.text).padded(rows, padding=True, return_tensors="pt")
    plain = theirs.generate(**batch, max_new_tokens=s.codes)
    guided = theirs.generate(**batch, max_new_tokens=s.codes, guidance_scale=3.0)
    wanted = draw_pictures(ours, [("en", caption) for caption in captions], Sampling(guidance=3.0))
    width = batch["input_ids"].shape[1]
    assert (guided[1:, width:].numpy() - s.config.offsets[1] == wanted).all()
    assert torch.equal(guided[0], plain[0]) and not torch.equal(guided[1:], plain[1:])  # only what is drawn
    with pytest.raises(HubError, match="one beam"):
        theirs.generate(**batch, guidance_scale=3.0, num_beams=2)


def test_sampling_and_beams_run_on_transformers_own_processors(
    ours: Model, theirs: Any, byte_tokenizers: Tokenizers
) -> None:
    s, rows = ours.sequences, prompts(ours, byte_tokenizers)
    batch = GPT4Tokenizer.of(byte_tokenizers.text).padded(rows, padding=True, return_tensors="pt")
    width = batch["input_ids"].shape[1]
    asked = {"do_sample": True, "temperature": 0.8, "top_k": 20, "top_p": 0.9, "repetition_penalty": 1.2}
    drawn = []
    for _ in range(2):
        torch.manual_seed(1)
        drawn.append(theirs.generate(**batch, **asked, max_new_tokens=20, num_return_sequences=2))
    assert torch.equal(*drawn)
    assert drawn[0].shape == (2 * len(rows), width + 20)
    picture = drawn[0][4, width:].tolist()  # the wish
    assert (
        all(i >= s.config.offsets[1] for i in picture[: s.codes])
        and picture[s.codes] == s.vocabulary["<eoi>"]
    )
    beams = theirs.generate(**batch, num_beams=3, max_new_tokens=8)
    assert len(beams) == len(rows)


def test_a_cache_may_be_given_on_and_grows(ours: Model, theirs: Any, byte_tokenizers: Tokenizers) -> None:
    [row] = [p for p in prompts(ours, byte_tokenizers) if len(p) > 40]
    ids = torch.tensor([row + byte_tokenizers.encode("hello how are you") * 30])
    whole = theirs(ids, prompt_length=len(row)).logits
    first = theirs(ids[:, : len(row)], use_cache=True)
    rest = theirs(ids[:, len(row) : -1], past_key_values=first.cache)
    last = theirs(ids[:, -1:], cache=first.cache, logits_to_keep=1)
    assert rest.cache.get_seq_length() == ids.shape[1]
    parts = torch.cat([first.logits, rest.logits, last.logits], 1)
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-4)
    with pytest.raises(HubError, match="rows"):
        theirs(ids[:, -1:].repeat(2, 1), cache=first.cache)


# --- forward ----------------------------------------------------------------------------------------------


def test_padding_may_be_anywhere(theirs: Any, ours: Model, byte_tokenizers: Tokenizers) -> None:
    row = prompts(ours, byte_tokenizers)[1]
    alone = theirs(torch.tensor([row])).logits[0]
    ids, mask, at = torch.zeros((1, len(row) + 5), dtype=torch.int64), torch.zeros((1, len(row) + 5)), []
    at = [c for c in range(len(row) + 5) if c not in (0, 1, 7, len(row), len(row) + 4)]
    ids[0, at], mask[0, at] = torch.tensor(row), 1.0
    torch.testing.assert_close(theirs(ids, mask).logits[0, at], alone, rtol=1e-4, atol=1e-4)
    few = theirs(ids, mask, logits_to_keep=4).logits
    torch.testing.assert_close(few, theirs(ids, mask).logits[:, -4:], rtol=1e-4, atol=1e-4)


def test_the_loss_is_that_of_training(corpus: Corpus, tokenizers: Tokenizers, network_of: NetworkOf) -> None:
    """A batch's units one to a row, labels where training wants something: the same two means, weighted alike."""
    model = network_of(tokenizers)
    batches = Batches(
        corpus,
        BatchConfig(rows=4, row_length=64, draw_share=0.4, texts_per_picture=1),
        model.network.config,
        model.sequences.vocabulary,
        seed=0,
    )
    batch = batches.batch(0)
    rows, wanted = [], []
    for r in range(4):
        for unit in range(int(batch.units[r].max()) + 1):
            own = (batch.units[r] == unit).nonzero().squeeze(1)
            target = batch.targets[r, own]
            rows.append(batch.ids[r, own].tolist())
            wanted.append([-100, *torch.where(target >= 0, target, -100)[:-1].tolist()])
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows])
    labels = torch.tensor([[-100] * (width - len(row)) + row for row in wanted])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    theirs = GPT4ForConditionalGeneration.of(model)
    out = theirs(ids, mask, labels=labels)
    offsets = model.network.config.offsets
    pairs = model.network.targets(batch.tokens(), batch.targets)
    found = losses.per_modality(pairs, losses.counts(batch.targets, offsets))
    config = TrainConfig(steps=1)
    expected = losses.weighted(found, [config.text_weight, config.image_weight])
    torch.testing.assert_close(out.loss, expected, rtol=1e-4, atol=1e-4)
    assert all(float(loss) > 0 for loss in found)


def test_a_picture_that_is_to_be_predicted_is_not_seen_before(
    byte_tokenizers: Tokenizers, network_of: NetworkOf
) -> None:
    """Changing a later code changes no logits before it, where the picture is wanted; where it is read, it does."""
    model = network_of(byte_tokenizers)
    theirs, s = GPT4ForConditionalGeneration.of(model), model.sequences
    rows = [s.wish("en", [30, 31]) + s.picture(np.arange(16) % last)[1:] for last in (25, 15)]
    ids = torch.tensor(rows)
    before = 5
    wanted, read = theirs(ids, labels=ids).logits, theirs(ids).logits
    code_by_code = theirs(ids, prompt_length=before).logits
    end = rows[0].index(s.vocabulary["<boi>"]) + 15
    assert torch.equal(wanted[0, :end], wanted[1, :end])
    assert not torch.equal(read[0, :end], read[1, :end])
    torch.testing.assert_close(code_by_code, wanted, rtol=1e-4, atol=1e-4)


def test_gradients_reach_every_weight(byte_tokenizers: Tokenizers, network_of: NetworkOf) -> None:
    model = network_of(byte_tokenizers)
    made = GPT4ForConditionalGeneration.of(model).requires_grad_(True)
    ids = torch.tensor(
        [model.sequences.wish("en", [30, 31]) + model.sequences.picture(range(16))[1:] + [33, 34]]
    )
    made(ids, labels=ids).loss.backward()
    assert all(weight.grad is not None for weight in made.parameters())


def test_too_many_codes_are_told(theirs: Any, ours: Model) -> None:
    low = ours.sequences.config.offsets[1]
    with pytest.raises(HubError, match="more than 16 codes"):
        theirs(torch.tensor([[*ours.sequences.wish(), *[low] * 17]]))
