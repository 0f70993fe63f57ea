"""The Hugging Face classes: what is saved comes back, and transformers' generation gives the ids of our own loop."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModelForCausalLM, AutoProcessor, AutoTokenizer, TextStreamer

from model import checkpoint, hub, losses
from model.batches import Batches
from model.config import BatchConfig, ModelConfig, TrainConfig
from model.corpus import Corpus
from model.generate import Model, Sampling, draw_pictures, generate
from model.hub import GPT4Config, GPT4ForConditionalGeneration, GPT4Processor, GPT4Tokenizer, HubError
from model.image_tokenizer import ImageTokenizer
from model.sequences import Sequences
from model.tokenizers import Tokenizers
from model.train import train
from model.transformer import Transformer
from pipeline.tokens import text_bpe

ASKED = "Translate the following English text to French: 'Hello, how are you?'"
TEXTS = ["hello how are you", "bonjour comment allez-vous", "a dark picture", "une image sombre"] * 3
VARIANTS = {
    "default": {},
    "plain": {"rope_2d": False, "neighbours": "none", "see_whole_picture": False, "dense": True},
    "around": {"neighbours": "around"},
}


@pytest.fixture(scope="module")
def pair(image_tokenizer: ImageTokenizer) -> Tokenizers:
    """The byte-level tokenizer that a store has, and the image tokenizer."""
    fitted = text_bpe.fit(TEXTS, 330, ["en", "fr"], ["caption", "translate", "vqa"])
    text = Tokenizer.from_str(fitted.decode())
    text.encode_special_tokens = True
    return Tokenizers(text, image_tokenizer)


def make_model(tokenizers: Tokenizers, **overrides: object) -> Model:
    """A small network with random weights everywhere, so that every path matters."""
    sizes = {"width": 16, "depth": 2, "heads": 2, "kv_heads": 1, "hidden": 32}
    config = ModelConfig.preset("tiny", tokenizers.modalities(), **(sizes | overrides))
    network = Transformer(config).initialise(3)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for weight in network.parameters():
            if not weight.any():
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.5)
    return Model(network.eval().requires_grad_(False), Sequences(config, tokenizers.vocabulary))


@pytest.fixture(params=VARIANTS, scope="module")
def ours(request: pytest.FixtureRequest, pair: Tokenizers) -> Model:
    return make_model(pair, **VARIANTS[request.param])


@pytest.fixture(scope="module")
def theirs(ours: Model, pair: Tokenizers, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("hub") / "model"
    hub.export(ours, pair, folder)
    return GPT4ForConditionalGeneration.from_pretrained(folder)


@pytest.fixture(scope="module")
def folder(pair: Tokenizers, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported model: to be read, not to be changed."""
    path = tmp_path_factory.mktemp("exported") / "model"
    hub.export(make_model(pair), pair, path)
    return path


@pytest.fixture(scope="module")
def processor(folder: Path) -> GPT4Processor:
    return GPT4Processor.from_pretrained(folder)


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
    ours: Model, theirs: Any, pair: Tokenizers, use_cache: bool
) -> None:
    told = set()
    for prompt in prompts(ours, pair):
        [wanted] = generate(ours, [prompt], Sampling(max_tokens=28))
        out = theirs.generate(torch.tensor([prompt]), max_new_tokens=28, use_cache=use_cache)
        assert continued(ours, out[0].tolist(), len(prompt)) == wanted
        told.add(tuple(wanted))
    assert len(told) > 3


@pytest.mark.parametrize("use_cache", [True, False])
def test_a_padded_batch_gives_each_row_what_it_gets_alone(
    ours: Model, theirs: Any, pair: Tokenizers, use_cache: bool
) -> None:
    rows = prompts(ours, pair)
    batch = GPT4Tokenizer.of(pair.text).padded(rows, padding=True, return_tensors="pt")
    assert (batch["attention_mask"][:, 0] == 0).any() and batch["attention_mask"][:, -1].all()
    out = theirs.generate(**batch, max_new_tokens=28, use_cache=use_cache).tolist()
    width = batch["input_ids"].shape[1]
    assert [continued(ours, row, width) for row in out] == generate(ours, rows, Sampling(max_tokens=28))


def test_a_drawn_picture_has_exactly_its_codes_and_then_its_end(
    ours: Model, theirs: Any, pair: Tokenizers
) -> None:
    s = ours.sequences
    caption = pair.encode("a dark picture")
    prompt = s.wish("en", caption)
    end = [s.vocabulary["<eoi>"], s.vocabulary["<eos>"]]
    out = theirs.generate(torch.tensor([prompt]), max_new_tokens=28, eos_token_id=end)[0].tolist()[
        len(prompt) :
    ]
    low = s.config.offsets[1]
    assert len(out) == s.codes + 1 and out[-1] == s.vocabulary["<eoi>"]
    codes = np.array(out[:-1]) - low
    assert (codes == draw_pictures(ours, [("en", caption)])[0]).all()


def test_sampling_and_beams_run_on_transformers_own_processors(
    ours: Model, theirs: Any, pair: Tokenizers
) -> None:
    s, rows = ours.sequences, prompts(ours, pair)
    batch = GPT4Tokenizer.of(pair.text).padded(rows, padding=True, return_tensors="pt")
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


def test_a_cache_may_be_given_on_and_grows(ours: Model, theirs: Any, pair: Tokenizers) -> None:
    [row] = [p for p in prompts(ours, pair) if len(p) > 40]
    ids = torch.tensor([row + pair.encode("hello how are you") * 30])
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


def test_padding_may_be_anywhere(theirs: Any, ours: Model, pair: Tokenizers) -> None:
    row = prompts(ours, pair)[1]
    alone = theirs(torch.tensor([row])).logits[0]
    ids, mask, at = torch.zeros((1, len(row) + 5), dtype=torch.int64), torch.zeros((1, len(row) + 5)), []
    at = [c for c in range(len(row) + 5) if c not in (0, 1, 7, len(row), len(row) + 4)]
    ids[0, at], mask[0, at] = torch.tensor(row), 1.0
    torch.testing.assert_close(theirs(ids, mask).logits[0, at], alone, rtol=1e-4, atol=1e-4)
    few = theirs(ids, mask, logits_to_keep=4).logits
    torch.testing.assert_close(few, theirs(ids, mask).logits[:, -4:], rtol=1e-4, atol=1e-4)


def test_the_loss_is_that_of_training(corpus: Corpus, tokenizers: Tokenizers) -> None:
    """A batch's units one to a row, labels where training wants something: the same two means, weighted alike."""
    model = make_model(tokenizers)
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


def test_a_picture_that_is_to_be_predicted_is_not_seen_before(pair: Tokenizers) -> None:
    """Changing a later code changes no logits before it, where the picture is wanted; where it is read, it does."""
    model = make_model(pair)
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


def test_gradients_reach_every_weight(pair: Tokenizers) -> None:
    model = make_model(pair)
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


def test_bfloat16_weights_compute(folder: Path, processor: GPT4Processor) -> None:
    half = GPT4ForConditionalGeneration.from_pretrained(folder, dtype=torch.bfloat16)
    whole = GPT4ForConditionalGeneration.from_pretrained(folder).to(torch.bfloat16)
    asked = processor(text=ASKED)
    assert half.dtype == torch.bfloat16
    assert torch.equal(half(**asked).logits, whole(**asked).logits)


# --- files ------------------------------------------------------------------------------------------------


def test_what_is_saved_comes_back_bit_by_bit(folder: Path, pair: Tokenizers, tmp_path: Path) -> None:
    model = GPT4ForConditionalGeneration.from_pretrained(folder)
    tokenizer, processor = GPT4Tokenizer.from_pretrained(folder), GPT4Processor.from_pretrained(folder)
    for part in (model, tokenizer, processor):
        part.save_pretrained(tmp_path / "again")
    again = GPT4ForConditionalGeneration.from_pretrained(tmp_path / "again")
    wanted = make_model(pair).network.state_dict()
    for found in (model, again):
        weights = found.network.state_dict()
        assert weights.keys() == wanted.keys()
        assert all(torch.equal(weights[name], wanted[name]) for name in wanted)
    other, shown = (
        GPT4Tokenizer.from_pretrained(tmp_path / "again"),
        GPT4Processor.from_pretrained(tmp_path / "again"),
    )
    for text in (ASKED, "a <bos> 'dark'  picture", "ß 图"):
        assert other.encode(text) == tokenizer.encode(text)
        assert other.ids(text) == pair.encode(text)
    assert shown.images.id == processor.images.id == pair.image.id
    assert again.config.lineage == model.config.lineage
    assert again.generation_config.max_new_tokens == model.generation_config.max_new_tokens


def test_the_auto_classes_know_it(folder: Path) -> None:
    config = AutoConfig.from_pretrained(folder)
    assert isinstance(config, GPT4Config)
    assert config.vocab_size == config.model().size
    assert isinstance(AutoTokenizer.from_pretrained(folder), GPT4Tokenizer)
    assert isinstance(AutoModelForCausalLM.from_pretrained(folder), GPT4ForConditionalGeneration)
    assert isinstance(AutoProcessor.from_pretrained(folder), GPT4Processor)


def test_the_folder_holds_data_only(folder: Path) -> None:
    assert {path.suffix for path in folder.iterdir()} == {".json", ".safetensors"}
    for path in folder.glob("*.json"):
        assert "auto_map" not in path.read_text()


def test_new_weights_are_those_of_a_new_network(pair: Tokenizers) -> None:
    config = GPT4ForConditionalGeneration.of(make_model(pair)).config
    fresh = GPT4ForConditionalGeneration(config).network.state_dict()
    wanted = Transformer(config.model()).initialise(0).state_dict()
    assert all(torch.equal(fresh[name], wanted[name]) for name in wanted)


def damage(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])


@pytest.mark.parametrize("how", [Path.unlink, damage, lambda path: path.write_bytes(path.read_bytes()[:200])])
@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "image_tokenizer.safetensors"])
def test_a_damaged_or_missing_file_is_told(
    folder: Path, tmp_path: Path, name: str, how: Callable[[Path], object]
) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    if name == "config.json" and how is damage:
        (tmp_path / name).write_text("{")
    else:
        how(tmp_path / name)
    kind = GPT4Processor if name.startswith("image") else GPT4ForConditionalGeneration
    with pytest.raises(HubError, match=r"millrace export|does not match the hash"):
        kind.from_pretrained(tmp_path)


def test_weights_of_another_configuration_are_refused(folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config["network"]["depth"] += 1
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(HubError, match="missing keys"):
        GPT4ForConditionalGeneration.from_pretrained(tmp_path)


def test_a_trained_checkpoint_answers_as_its_store_does(
    tiny_store: Any, settings: Any, tmp_path: Path
) -> None:
    store, snapshot = tiny_store
    trained = Model.load(train(store, snapshot, settings(steps=10), run_id="r"))
    tokenizers = Tokenizers.of(store, snapshot)
    hub.export(trained, tokenizers, tmp_path / "out")
    theirs = GPT4ForConditionalGeneration.from_pretrained(tmp_path / "out")
    assert trained.saved is not None
    assert (
        theirs.config.lineage["checkpoint_id"] == trained.saved.id == checkpoint.read(trained.saved.folder).id
    )
    prompt = trained.sequences.text("en", "caption")
    wanted = generate(trained, [prompt], Sampling(max_tokens=9))
    assert generate(theirs.loop(), [prompt], Sampling(max_tokens=9)) == wanted
    out = theirs.generate(torch.tensor([prompt]), max_new_tokens=9)[0].tolist()
    assert continued(trained, out, len(prompt)) == wanted[0]


# --- text and pictures ------------------------------------------------------------------------------------


def test_the_example_of_the_design(
    folder: Path, pair: Tokenizers, capsys: pytest.CaptureFixture[str]
) -> None:
    model, tokenizer = (
        GPT4ForConditionalGeneration.from_pretrained(folder),
        GPT4Tokenizer.from_pretrained(folder),
    )
    input_ids = tokenizer.encode(ASKED, return_tensors="pt")
    v = pair.vocabulary
    words = pair.encode("Hello, how are you?")
    assert input_ids.tolist() == [[v["<bos>"], v["<lang:fr>"], v["<task:translate>"], *words, v["<sep>"]]]
    print(tokenizer.decode(model.generate(input_ids)[0]))
    said = capsys.readouterr().out
    assert said.startswith("Hello, how are you?\n")
    assert "<lang:fr>" not in said and "<eos>" not in said


def test_decoding_leaves_out_what_is_no_text(folder: Path, pair: Tokenizers) -> None:
    tokenizer, v = GPT4Tokenizer.from_pretrained(folder), pair.vocabulary
    row = [*tokenizer.encode(ASKED), *pair.encode("bonjour"), v["<eos>"], v["<pad>"], v.size + 3]
    assert tokenizer.decode(row) == "Hello, how are you?\nbonjour"
    assert tokenizer.decode(row, skip_special_tokens=True) == "Hello, how are you? bonjour"
    shown = tokenizer.decode(row, skip_special_tokens=False)
    assert shown == "<bos><lang:fr><task:translate> Hello, how are you?<sep> bonjour<eos><pad>"
    assert (
        tokenizer.batch_decode([row, row])
        == tokenizer.decode(torch.tensor([row, row]))
        == [tokenizer.decode(row)] * 2
    )
    for text in ("", " two  spaces ", "<bos> 'x' <sep>", "é图😀"):
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_texts_in_a_batch_answers_and_cut_ones(folder: Path, pair: Tokenizers) -> None:
    tokenizer, v = GPT4Tokenizer.from_pretrained(folder), pair.vocabulary
    both = tokenizer([ASKED, "hello"], padding=True, return_tensors="pt", return_length=True)
    assert (
        both["attention_mask"].sum(1).tolist() == both["length"].tolist() == [len(tokenizer.encode(ASKED)), 3]
    )
    answered = tokenizer.encode(ASKED, "bonjour")
    assert answered == [*tokenizer.encode(ASKED), *pair.encode("bonjour"), v["<eos>"]]
    cut = tokenizer.encode(ASKED, truncation=True, max_length=7)
    assert len(cut) == 7 and cut[:3] == answered[:3] and cut[-1] == v["<sep>"]
    with pytest.raises(HubError, match="max_length"):
        tokenizer.encode(ASKED, truncation=True, max_length=3)
    assert tokenizer(["hello"], add_special_tokens=False)["input_ids"] == [pair.encode("hello")]


def test_a_stream_prints_what_decoding_gives(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, tokenizer = (
        GPT4ForConditionalGeneration.from_pretrained(folder),
        GPT4Tokenizer.from_pretrained(folder),
    )
    input_ids = tokenizer.encode("hello", return_tensors="pt")
    out = model.generate(input_ids, max_new_tokens=12, streamer=TextStreamer(tokenizer, skip_prompt=True))
    assert capsys.readouterr().out.strip() == tokenizer.decode(out[0][input_ids.shape[1] :]).strip()


def test_pictures_become_codes_and_come_back(processor: GPT4Processor, pair: Tokenizers) -> None:
    shown = np.random.default_rng(0).integers(0, 255, (2, 16, 16, 3)).astype(np.uint8)
    s = Sequences(make_model(pair).network.config, pair.vocabulary)
    codes = pair.image.encode(shown)
    encoded = processor(images=list(shown), text=["hello", "how are you"])
    assert encoded["input_ids"][1].tolist() == s.picture(codes[1]) + s.question(
        "en", "vqa", pair.encode("how are you")
    )
    assert encoded["input_ids"][0, -1] == pair.vocabulary["<sep>"] and encoded["attention_mask"][0, 0] == 0
    described = processor(images=shown[0], lang="fr", return_tensors=None)["input_ids"]
    assert described == [s.picture(codes[0]) + s.question("fr", "caption")]
    back = processor.decode_images(s.picture(codes[0]) + s.picture(codes[1]) + s.picture(codes[0])[:-3])
    assert len(back) == 2
    assert (np.stack([np.asarray(one) for one in back]) == pair.image.decode(codes)).all()
    drawn = processor(text="a dark picture", draw=True)["input_ids"][0].tolist()
    assert drawn == s.wish("en", pair.encode("a dark picture"))
    assert processor(text=ASKED)["input_ids"].tolist() == [processor.tokenizer.encode(ASKED)]


def test_a_processor_says_what_it_lacks(processor: GPT4Processor) -> None:
    shown = np.zeros((16, 16, 3), np.uint8)
    for asked, said in (
        ({}, "give a text"),
        ({"images": [shown, shown, shown], "text": ["a", "b"]}, "3 pictures and 2 texts"),
        ({"images": shown, "text": "a", "draw": True}, "text alone"),
        ({"images": b"no picture"}, "cannot be read"),
    ):
        with pytest.raises(HubError, match=said):
            processor(**asked)
    with pytest.raises(HubError, match="no image tokenizer"):
        GPT4Processor(processor.tokenizer)(images=shown)
