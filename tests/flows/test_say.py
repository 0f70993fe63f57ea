"""`millrace generate`: texts, pictures and both, from words and any number of pictures."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from flows.cli import app
from model import checkpoint
from model.image_tokenizer import fit
from model.tokenizers import Tokenizers
from tests.model.conftest import IMAGES, TEXT_ID, make_store, pictures, text_tokenizer
from tests.model.reading import make_model


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store, a checkpoint of random weights, two pictures and a configuration."""
    path = tmp_path_factory.mktemp("project")
    tokenizers = Tokenizers(text_tokenizer(), fit(pictures(32), IMAGES))
    store, _ = make_store(path / "store", tokenizers, 4)
    model = make_model(tokenizers)
    meta = {
        "model": model.network.config.model_dump(mode="json"),
        "vocabulary": model.sequences.vocabulary.model_dump(),
        "text_tokenizer": TEXT_ID,
        "image_tokenizer": tokenizers.image.id,
    }
    saved = checkpoint.write(store.folder("checkpoints") / "r", 1, model.network.state_dict(), {}, meta)
    row = {
        "checkpoint_id": saved.id,
        "run_id": "r",
        "step": 1,
        "snapshot": "s",
        "path": str(saved.folder.relative_to(store.path)),
        "parameters": 1,
        "recorded_at": datetime.now(UTC),
    }
    store.append("checkpoints", pa.Table.from_pylist([row]), parts=["c"])
    for name, shown in zip(("one.png", "two.png"), pictures(2), strict=True):
        Image.fromarray(shown).save(path / name)
    (path / "millrace.toml").write_text("")
    return path


def run(project: Path, *arguments: object) -> Result:
    words = ["generate", *arguments, "-c", project / "millrace.toml"]
    return CliRunner().invoke(app, [str(one) for one in words])


def told(project: Path, *arguments: object) -> dict[str, Any]:
    result = run(project, *arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_text_from_one_picture_from_several_and_from_none(project: Path) -> None:
    one, two = (["--image", project / name] for name in ("one.png", "two.png"))
    answers = [
        told(project, *one)["answer"],
        told(project, *one, "how bright is it")["answer"],
        told(project, *one, *two, "how bright is it")["answer"],
        told(project, *two, *one, "how bright is it")["answer"],
        told(project, "a dark", "--modalities", "text")["answer"],
    ]
    assert len(set(answers)) > 2


def test_a_stop_string_and_a_limit_end_the_text(project: Path) -> None:
    asked, whole = ["a dark", "--modalities", "text", "--temperature", "3", "--max-tokens", "30"], ""
    for seed in range(30):  # random weights: until one happens to say enough
        if len(whole.split()) > 5:
            break
        whole = told(project, "--seed", seed, *asked)["answer"]
    asked = ["--seed", seed - 1, *asked]
    stop = whole[4:9]
    assert told(project, *asked, "--stop", "zzz", "--stop", stop)["answer"] == whole[: whole.index(stop)]
    short = told(project, *asked[:-1], "3")["answer"]
    assert whole.startswith(short) and len(short.split()) <= 3


def test_a_picture_is_drawn_as_the_seed_and_the_guidance_say(project: Path, tmp_path: Path) -> None:
    def drawn(name: str, *more: object) -> bytes:
        path = tmp_path / "new" / name
        assert told(project, "a dark picture", "-o", path, *more)["picture"] == str(path)
        return path.read_bytes()

    first = drawn("1.png")
    assert first.startswith(b"\x89PNG")
    assert drawn("2.png") == first
    assert drawn("3.png", "--seed", 1) != first
    assert drawn("4.png", "--guidance", 9) != first
    assert drawn("5.png", "--image", project / "one.png", "--modalities", "image") != first


def test_mixed_output_writes_each_picture_beside_the_text(project: Path, tmp_path: Path) -> None:
    asked = ["a dark", "--modalities", "mixed", "--temperature", 2, "--top-p", 1, "--max-tokens", 400]
    output, made = tmp_path / "out.png", []
    for seed in range(30):  # random weights: until one happens to draw twice before it ends
        made = told(project, *asked, "-o", output, "--seed", seed)["parts"]
        if sum("picture" in part for part in made) > 1:
            break
    files = [part["picture"] for part in made if "picture" in part]
    assert files[:2] == [str(output), str(tmp_path / "out-2.png")]
    assert all(Image.open(file).size == (256, 256) for file in files)
    assert any(part.get("text") for part in made)
    shown = run(project, *asked, "-o", output, "--seed", seed)
    assert shown.exit_code == 0
    assert "out-2.png" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--top-p", "0"], "0.01"),
        (["--modalities", "sound"], "mixed"),
        (["--guidance", "-1"], "0"),
    ],
)
def test_what_cannot_be_asked_is_told(project: Path, arguments: list[str], said: str) -> None:
    result = run(project, "a dark picture", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr
