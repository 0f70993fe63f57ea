"""Generation says the same with a cache as without, in a batch as alone, packed as apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from model import checkpoint
from model.batches import Batches
from model.config import BatchConfig, ConfigError, ModelConfig, Vocabulary
from model.corpus import Corpus
from model.generate import Model, Question, Sampling, choose, draw_pictures, generate, guide, read_pictures
from model.tokenizers import Tokenizers
from model.transformer import Transformer
from tests.model.reading import VARIANTS, logits_of, make_model, uncached


@pytest.fixture(params=VARIANTS, scope="module")
def model(request: pytest.FixtureRequest, tokenizers: Tokenizers) -> Model:
    return make_model(tokenizers, **VARIANTS[request.param])


def questions(model: Model) -> list[list[int]]:
    s = model.sequences
    return [
        s.question("en", "caption"),
        s.question("fr", "caption", [12, 13]),
        s.question("en", "vqa", [18, 19, 20, 21]),
    ]


def test_cached_branches_equal_whole_sequences_read_anew(model: Model, corpus: Corpus) -> None:
    s = model.sequences
    pictures = [s.picture(corpus.codes[i]) for i in range(2)]
    asked, trunk_of = questions(model) * 2, [0, 0, 0, 1, 1, 1]
    got = generate(model, asked, Sampling(max_tokens=8), trunks=pictures, trunk_of=trunk_of)
    eos = s.vocabulary["<eos>"]
    assert got == [uncached(model, pictures[t] + q, 8, eos) for q, t in zip(asked, trunk_of, strict=True)]
    assert len({tuple(ids) for ids in got}) > 1


def test_a_row_does_not_depend_on_the_batch(model: Model, corpus: Corpus) -> None:
    s = model.sequences
    prompts = [
        s.wish("en", [10, 11]),
        s.text("fr", None, [13]),
        s.picture(corpus.codes[0]) + s.question("en", "caption"),
    ]
    for sampling in (
        Sampling(max_tokens=24),
        Sampling(max_tokens=24, temperature=1.0, top_k=20, top_p=0.95, seed=5),
    ):
        together = generate(model, prompts, sampling)
        assert together == [generate(model, [p], sampling, keys=[i])[0] for i, p in enumerate(prompts)]


def test_packed_rows_give_the_logits_of_each_sequence_alone(model: Model, corpus: Corpus) -> None:
    config = BatchConfig(rows=2, row_length=100, draw_share=0.4, caption_dropout=0.3)
    batches = Batches(corpus, config, model.network.config, model.sequences.vocabulary, seed=0)
    compared = 0
    for step in range(3):
        batch = batches.batch(step)
        packed = model.network(batch.tokens())
        for row in range(2):
            for unit in range(int(batch.units[row].max()) + 1):
                own = batch.units[row] == unit
                for branch in range(int(batch.branches[row][own].max()) + 1):
                    path = (
                        (own & ((batch.branches[row] == 0) | (batch.branches[row] == branch)))
                        .nonzero()
                        .squeeze(1)
                    )
                    alone = logits_of(model, batch.ids[row, path].tolist())
                    if model.network.config.see_whole_picture and not (batch.blocks[row, path] > 0).any():
                        continue  # a drawn picture is seen code by code, and only a read one as a whole
                    torch.testing.assert_close(packed[row, path], alone, rtol=1e-4, atol=1e-4)
                    compared += 1
    assert compared > 10


def test_a_drawn_picture_has_exactly_its_codes(model: Model) -> None:
    sampling = Sampling(temperature=1.0, guidance=2.0, seed=1)
    codes = draw_pictures(model, [("en", [10, 11]), ("fr", [13]), (None, None)], sampling)
    assert codes.shape == (3, 16)
    assert codes.min() >= 0 and codes.max() < 25
    assert (codes == draw_pictures(model, [("en", [10, 11]), ("fr", [13]), (None, None)], sampling)).all()
    assert not (
        codes == draw_pictures(model, [("en", [10, 11])] * 3, sampling.model_copy(update={"seed": 2}))
    ).all()


def test_after_a_picture_comes_its_end_and_then_text(model: Model) -> None:
    s = model.sequences
    got = generate(model, [s.wish("en", [10, 11])], Sampling(max_tokens=20), stop=[])[0]
    low = s.config.offsets[1]
    assert [i >= low for i in got[:18]] == [True] * 16 + [False] * 2
    assert got[16] == s.vocabulary["<eoi>"]


def test_only_one_head_is_on(model: Model, corpus: Corpus) -> None:
    s = model.sequences
    ids = [*s.wish("en", [10]), *s.picture(corpus.codes[0])[1:], 11]
    low = s.config.offsets[1]
    boi = ids.index(s.vocabulary["<boi>"])
    for place, row in enumerate(logits_of(model, ids)):
        drawing = boi <= place < boi + 16
        assert bool(torch.isfinite(row[low:]).all()) == drawing
        assert bool(torch.isfinite(row[:low]).all()) != drawing


def test_no_guidance_is_weight_one_and_none_is_weight_zero() -> None:
    wished, free = torch.tensor([[1.0, 2.0, -torch.inf]]), torch.tensor([[3.0, 0.5, -torch.inf]])
    assert torch.equal(guide(wished, free, 1.0), wished)
    assert torch.equal(guide(wished, free, 0.0), free)
    assert guide(wished, free, 2.0).tolist() == [[-1.0, 3.5, -torch.inf]]


def test_top_k_and_top_p_leave_out_the_unlikely() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log().repeat(1000, 1)
    uniform = torch.linspace(0, 0.9999, 1000)
    counts = np.bincount(choose(logits, Sampling(temperature=1.0), uniform), minlength=4)
    np.testing.assert_allclose(counts, [500, 300, 150, 50], atol=2)
    assert set(choose(logits, Sampling(temperature=1.0, top_k=2), uniform)) == {0, 1}
    assert set(choose(logits, Sampling(temperature=1.0, top_p=0.7), uniform)) == {0, 1}
    assert set(choose(logits, Sampling(temperature=0.01), uniform)) == {0}


def test_read_pictures_does_not_depend_on_how_questions_are_batched(model: Model, corpus: Corpus) -> None:
    asked = [Question(p, lang, "caption") for p in range(5) for lang in ("en", "fr")]
    few, many = (read_pictures(model, corpus.codes, asked, Sampling(max_tokens=6), batch=b) for b in (3, 100))
    assert few == many


def test_a_saved_model_answers_as_before(model: Model, tmp_path: Path) -> None:
    meta = {
        "model": model.network.config.model_dump(mode="json"),
        "vocabulary": model.sequences.vocabulary.model_dump(),
    }
    saved = checkpoint.write(tmp_path, 1, model.network.state_dict(), {}, meta)
    again = Model.load(saved.folder)
    prompts = [model.sequences.text("en", "caption")]
    assert generate(again, prompts, Sampling(max_tokens=9)) == generate(
        model, prompts, Sampling(max_tokens=9)
    )
    weights = saved.folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(checkpoint.CheckpointError, match="damaged"):
        Model.load(saved.folder)


def test_presets_come_from_one_dial(tokenizers: Tokenizers) -> None:
    big = tokenizers.vocabulary.model_copy(update={"size": 2048})
    image = tokenizers.modalities()[1].model_copy(update={"size": 1000})
    text = tokenizers.modalities()[0].model_copy(update={"size": big.size})
    counts = {}
    for name in ("tiny", "small", "base", "large"):
        with torch.device("meta"):
            counts[name] = Transformer(ModelConfig.preset(name, (text, image))).parameter_count() / 1e6
    assert (
        2 < counts["tiny"] < 4
        and 8 < counts["small"] < 13
        and 90 < counts["base"] < 140
        and 800 < counts["large"] < 1100
    )
    with pytest.raises(ConfigError, match="medium"):
        ModelConfig.preset("medium", (text, image))


def test_a_vocabulary_without_a_needed_token_is_refused() -> None:
    with pytest.raises(ConfigError, match="<bos>"):
        Vocabulary.of({"<pad>": 0, "a": 1})


def test_dense_has_half_the_layer_weights(tokenizers: Tokenizers) -> None:
    def inside(network: nn.Module) -> int:
        return sum(w.numel() for n, w in network.named_parameters() if n.startswith("layers."))

    both = make_model(tokenizers).network, make_model(tokenizers, dense=True).network
    assert inside(both[0]) == 2 * inside(both[1])
