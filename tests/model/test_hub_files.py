"""A folder of the Hugging Face kind: what is saved comes back, damage is told, and text and pictures go in and out."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoProcessor, AutoTokenizer, TextStreamer

from model import hub
from model.generate import Model, Sampling, generate
from model.hub import GPT4Config, GPT4ForConditionalGeneration, GPT4Processor, GPT4Tokenizer, HubError
from model.sequences import Sequences
from model.tokenizers import Tokenizers
from model.train import train
from model.transformer import Transformer

NetworkOf = Callable[..., Model]
ASKED = "Translate the following English text to French: 'Hello, how are you?'"


@pytest.fixture(scope="module")
def folder(
    byte_tokenizers: Tokenizers, tmp_path_factory: pytest.TempPathFactory, network_of: NetworkOf
) -> Path:
    """An exported model: to be read, not to be changed."""
    path = tmp_path_factory.mktemp("exported") / "model"
    hub.export(network_of(byte_tokenizers), byte_tokenizers, path)
    return path


@pytest.fixture(scope="module")
def processor(folder: Path) -> GPT4Processor:
    return GPT4Processor.from_pretrained(folder)


def test_what_is_saved_comes_back_bit_by_bit(
    folder: Path, byte_tokenizers: Tokenizers, tmp_path: Path, network_of: NetworkOf
) -> None:
    model = GPT4ForConditionalGeneration.from_pretrained(folder)
    tokenizer, processor = GPT4Tokenizer.from_pretrained(folder), GPT4Processor.from_pretrained(folder)
    for part in (model, tokenizer, processor):
        part.save_pretrained(tmp_path / "again")
    again = GPT4ForConditionalGeneration.from_pretrained(tmp_path / "again")
    wanted = network_of(byte_tokenizers).network.state_dict()
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
        assert other.ids(text) == byte_tokenizers.encode(text)
    assert shown.images.id == processor.images.id == byte_tokenizers.image.id
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


def test_weights_in_a_pickle_are_not_read(folder: Path, tmp_path: Path) -> None:
    model = GPT4ForConditionalGeneration.from_pretrained(folder)
    model.config.weights_hash = None
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    for kind in (GPT4ForConditionalGeneration, AutoModelForCausalLM):
        with pytest.raises(OSError, match=r"model\.safetensors"):
            kind.from_pretrained(tmp_path, use_safetensors=False)


def test_new_weights_are_those_of_a_new_network(byte_tokenizers: Tokenizers, network_of: NetworkOf) -> None:
    config = GPT4ForConditionalGeneration.of(network_of(byte_tokenizers)).config
    fresh = GPT4ForConditionalGeneration(config).network.state_dict()
    wanted = Transformer(config.model()).initialise(0).state_dict()
    assert all(torch.equal(fresh[name], wanted[name]) for name in wanted)


def test_bfloat16_weights_compute(folder: Path, processor: GPT4Processor) -> None:
    half = GPT4ForConditionalGeneration.from_pretrained(folder, dtype=torch.bfloat16)
    whole = GPT4ForConditionalGeneration.from_pretrained(folder).to(torch.bfloat16)
    asked = processor(text=ASKED)
    assert half.dtype == torch.bfloat16
    assert torch.equal(half(**asked).logits, whole(**asked).logits)


def test_shards_and_changed_weights_are_saved_as_they_are(folder: Path, tmp_path: Path) -> None:
    model = GPT4ForConditionalGeneration.from_pretrained(folder)
    with torch.no_grad():
        model.network.norms[0].gain.add_(1.0)
    model.save_pretrained(tmp_path / "whole")
    model.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    for name in ("whole", "shards"):
        again = GPT4ForConditionalGeneration.from_pretrained(tmp_path / name)
        assert torch.equal(again.network.norms[0].gain, model.network.norms[0].gain)


def test_nothing_else_needs_transformers() -> None:
    root, needing = Path(hub.__file__).parents[1], set()
    for path in [
        one
        for room in ("storage", "pipeline", "model", "flows", "dashboards")
        for one in (root / room).rglob("*.py")
    ]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            needing |= {path.stem for name in names if name.split(".")[0] == "transformers"}
    assert "hub" in needing and all(name.startswith("hub") for name in needing)


def damage(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])


@pytest.mark.parametrize("how", [Path.unlink, damage, lambda path: path.write_bytes(path.read_bytes()[:200])])
@pytest.mark.parametrize(
    "name", ["model.safetensors", "config.json", "tokenizer.json", "image_tokenizer.safetensors"]
)
def test_a_damaged_or_missing_file_is_told(
    folder: Path, tmp_path: Path, name: str, how: Callable[[Path], object]
) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    if name.endswith(".json") and how is damage:
        (tmp_path / name).write_text("{}" if name.startswith("tok") else "{")
    else:
        how(tmp_path / name)
    kinds: dict[str, tuple[Any, ...]] = {
        "model.safetensors": (GPT4ForConditionalGeneration, AutoModelForCausalLM),
        "config.json": (GPT4ForConditionalGeneration,),
        "tokenizer.json": (GPT4Tokenizer, AutoTokenizer, GPT4Processor),
        "image_tokenizer.safetensors": (GPT4Processor, AutoProcessor),
    }
    for kind in kinds[name]:
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
    assert theirs.config.lineage["checkpoint_id"] == trained.saved.id
    prompt = trained.sequences.text("en", "caption")
    wanted = generate(trained, [prompt], Sampling(max_tokens=9))
    assert generate(theirs.loop(), [prompt], Sampling(max_tokens=9)) == wanted
    out = theirs.generate(torch.tensor([prompt]), max_new_tokens=9)[0].tolist()
    end = [trained.sequences.vocabulary["<eos>"]]
    assert out[len(prompt) :][: len(wanted[0])] == wanted[0]
    assert out[len(prompt) + len(wanted[0]) :][:1] in (end, [])


# --- text and pictures ------------------------------------------------------------------------------------


def test_the_example_of_the_design(
    folder: Path, byte_tokenizers: Tokenizers, capsys: pytest.CaptureFixture[str]
) -> None:
    model, tokenizer = (
        GPT4ForConditionalGeneration.from_pretrained(folder),
        GPT4Tokenizer.from_pretrained(folder),
    )
    input_ids = tokenizer.encode(ASKED, return_tensors="pt")
    v = byte_tokenizers.vocabulary
    words = byte_tokenizers.encode("Hello, how are you?")
    assert input_ids.tolist() == [[v["<bos>"], v["<lang:fr>"], v["<task:translate>"], *words, v["<sep>"]]]
    print(tokenizer.decode(model.generate(input_ids)[0]))
    said = capsys.readouterr().out
    assert said.startswith("Hello, how are you?\n")
    assert "<lang:fr>" not in said and "<eos>" not in said


def test_decoding_leaves_out_what_is_no_text(folder: Path, byte_tokenizers: Tokenizers) -> None:
    tokenizer, v = GPT4Tokenizer.from_pretrained(folder), byte_tokenizers.vocabulary
    row = [*tokenizer.encode(ASKED), *byte_tokenizers.encode("bonjour"), v["<eos>"], v["<pad>"], v.size + 3]
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


def test_texts_in_a_batch_answers_and_cut_ones(folder: Path, byte_tokenizers: Tokenizers) -> None:
    tokenizer, v = GPT4Tokenizer.from_pretrained(folder), byte_tokenizers.vocabulary
    both = tokenizer([ASKED, "hello"], padding=True, return_tensors="pt", return_length=True)
    assert (
        both["attention_mask"].sum(1).tolist() == both["length"].tolist() == [len(tokenizer.encode(ASKED)), 3]
    )
    answered = tokenizer.encode(ASKED, "bonjour")
    assert answered == [*tokenizer.encode(ASKED), *byte_tokenizers.encode("bonjour"), v["<eos>"]]
    cut = tokenizer.encode(ASKED, truncation=True, max_length=7)
    assert len(cut) == 7 and cut[:3] == answered[:3] and cut[-1] == v["<sep>"]
    with pytest.raises(HubError, match="max_length"):
        tokenizer.encode(ASKED, truncation=True, max_length=3)
    assert tokenizer(["hello"], add_special_tokens=False)["input_ids"] == [byte_tokenizers.encode("hello")]


def test_a_stream_prints_what_decoding_gives(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, tokenizer = (
        GPT4ForConditionalGeneration.from_pretrained(folder),
        GPT4Tokenizer.from_pretrained(folder),
    )
    input_ids = tokenizer.encode("hello", return_tensors="pt")
    out = model.generate(input_ids, max_new_tokens=12, streamer=TextStreamer(tokenizer, skip_prompt=True))
    assert capsys.readouterr().out.strip() == tokenizer.decode(out[0][input_ids.shape[1] :]).strip()


def test_pictures_become_codes_and_come_back(
    processor: GPT4Processor, byte_tokenizers: Tokenizers, network_of: NetworkOf
) -> None:
    shown = np.random.default_rng(0).integers(0, 255, (2, 16, 16, 3)).astype(np.uint8)
    s = Sequences(network_of(byte_tokenizers).network.config, byte_tokenizers.vocabulary)
    codes = byte_tokenizers.image.encode(shown)
    encoded = processor(images=list(shown), text=["hello", "how are you"])
    assert encoded["input_ids"][1].tolist() == s.picture(codes[1]) + s.question(
        "en", "vqa", byte_tokenizers.encode("how are you")
    )
    assert (
        encoded["input_ids"][0, -1] == byte_tokenizers.vocabulary["<sep>"]
        and encoded["attention_mask"][0, 0] == 0
    )
    described = processor(images=shown[0], lang="fr", return_tensors=None)["input_ids"]
    assert described == [s.picture(codes[0]) + s.question("fr", "caption")]
    back = processor.decode_images(s.picture(codes[0]) + s.picture(codes[1]) + s.picture(codes[0])[:-3])
    assert len(back) == 2
    assert (np.stack([np.asarray(one) for one in back]) == byte_tokenizers.image.decode(codes)).all()
    drawn = processor(text="a dark picture", draw=True)["input_ids"][0].tolist()
    assert drawn == s.wish("en", byte_tokenizers.encode("a dark picture"))
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
