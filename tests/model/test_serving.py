"""The API as OpenAI's own client sees it: what it says is what the model says by itself, whatever else is asked at the time."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from model.generate import Model, Sampling, generate
from model.sequences import Picture, Text
from model.serving.answering import Answering, Asked
from model.serving.making import Making, Told
from model.serving.settings import ServeConfig
from model.tokenizers import Tokenizers
from tests.model.greys import pictures
from tests.model.served import Served, answering, data_url, drawn_pixels, message, png, serving

SIDE = 16


@pytest.fixture(scope="module")
def who(toy: Model, tokenizers: Tokenizers) -> Answering:
    return answering("toy", toy, tokenizers)


@pytest.fixture(scope="module")
def served(who: Answering) -> Iterator[Served]:
    with serving(who, ServeConfig(rows=8, queue=200)) as made:
        yield made


@pytest.fixture(scope="module")
def client(served: Served) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0, timeout=60)


@pytest.fixture(scope="module")
def shown() -> list[str]:
    return [data_url(png(one)) for one in pictures(6, seed=5)]


def codes(who: Answering, n: int = 6) -> list[list[int]]:
    return who.tokenizers.image.encode(pictures(n, seed=5)).tolist()


def caption(who: Answering, picture: int) -> str:
    """What the model says of a picture by itself."""
    s = who.model.sequences
    ids = [*s.picture(codes(who)[picture]), *s.question("en", "caption")]
    (made,) = generate(who.model, [ids], Sampling(modalities="text"))
    return who.tokenizers.decode(made)


def test_a_picture_is_described_as_by_the_model_itself(
    client: openai.OpenAI, who: Answering, shown: list[str]
) -> None:
    for i, url in enumerate(shown):
        told = client.chat.completions.create(model="millrace", messages=message("", url))
        assert told.choices[0].message.content == caption(who, i)
        assert told.choices[0].finish_reason == "stop"
        assert told.system_fingerprint == "toy"
        assert told.usage is not None and told.usage.prompt_tokens == 18 + 3
    assert len({caption(who, i) for i in range(6)}) > 1


def test_a_stream_tells_the_same_piece_by_piece(
    client: openai.OpenAI, who: Answering, shown: list[str]
) -> None:
    told = list(
        client.chat.completions.create(
            model="millrace",
            messages=message("", shown[0]),
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    pieces = [one.choices[0].delta.content for one in told if one.choices and one.choices[0].delta.content]
    assert "".join(pieces) == caption(who, 0)
    assert len(pieces) > 1
    assert [one.choices[0].finish_reason for one in told if one.choices][-1] == "stop"
    assert told[-1].usage is not None and told[-1].usage.completion_tokens > len(pieces)


def test_later_questions_go_with_the_last_picture(
    client: openai.OpenAI, who: Answering, shown: list[str]
) -> None:
    turns = [
        {"role": "system", "content": "be brief"},
        *message("", shown[1]),
        {"role": "assistant", "content": "a picture"},
        *message("how bright is it"),
    ]
    told = client.chat.completions.create(model="millrace", messages=turns)  # type: ignore[arg-type]
    s = who.model.sequences
    words = who.tokenizers.encode("how bright is it")
    (made,) = generate(
        who.model,
        [[*s.picture(codes(who)[1]), *s.question("en", "vqa", words)]],
        Sampling(modalities="text"),
    )
    assert told.choices[0].message.content == who.tokenizers.decode(made)


def test_mixed_answers_come_in_order(client: openai.OpenAI, who: Answering) -> None:
    ids = Asked("a dark picture", lang="en", made="mixed").prompt(who, 100)
    sampling = Sampling(temperature=3.0, max_tokens=80, guidance=3.0)
    for seed in range(100):  # until a picture and words come
        (made,) = generate(who.model, [ids], sampling.model_copy(update={"seed": seed}), keys=[0])
        wanted = [one for one in who.model.sequences.parts(made) if said(who, one)]
        if {type(one) for one in wanted} == {Text, Picture}:
            break
    told = client.chat.completions.create(
        model="millrace",
        messages=message("a dark picture"),
        temperature=3.0,
        top_p=1.0,
        seed=seed,
        max_tokens=80,
        extra_body={"modalities": ["text", "image"], "guidance": 3.0},
    )
    parts = told.choices[0].message.parts  # type: ignore[attr-defined]
    assert len(parts) == len(wanted) >= 2
    for part, one in zip(parts, wanted, strict=True):
        if isinstance(one, Picture):
            found = drawn_pixels(part["image_url"]["url"].partition(",")[2])
            assert np.array_equal(found, who.pictures([one.codes])[0])
        else:
            assert part["text"].strip() == who.tokenizers.decode(list(one.ids)).strip()


def said(who: Answering, part: Text | Picture) -> bool:
    """Whether a part is heard of: a picture that was cut short is not."""
    return len(part.codes) == 16 if isinstance(part, Picture) else bool(who.tokenizers.decode(list(part.ids)))


def test_pictures_are_drawn_from_words_and_a_seed(client: openai.OpenAI, who: Answering) -> None:
    def draw(seed: int, n: int = 1) -> list[np.ndarray]:
        made = client.images.generate(
            prompt="a dark picture",
            n=n,
            size="16x16",
            extra_body={"seed": seed},  # type: ignore[arg-type]
        )
        return [drawn_pixels(one.b64_json) for one in made.data or ()]

    s, sampling = (
        who.model.sequences,
        Sampling(temperature=1.0, top_p=0.6, guidance=2.0, modalities="image", seed=2),
    )
    wish = s.wish("en", who.tokenizers.encode("a dark picture"))
    made = generate(who.model, [wish] * 3, sampling.model_copy(update={"max_tokens": 17}))
    wanted = who.pictures([[i - s.config.offsets[1] for i in ids] for ids in made])
    found = draw(2, 3)
    assert len(found) == 3
    assert all(np.array_equal(one, other) for one, other in zip(found, wanted, strict=True))
    assert not np.array_equal(draw(3)[0], found[0])
    assert drawn_pixels(client.images.generate(prompt="a").data[0].b64_json).shape == (256, 256, 3)  # type: ignore[index]


def test_texts_go_on(client: openai.OpenAI, who: Answering) -> None:
    told = client.completions.create(model="millrace", prompt=["a", "une image"], max_tokens=7)
    s = who.model.sequences
    asked = [[*s.text("en", "text"), *who.tokenizers.encode(words)] for words in ("a", "une image")]
    made = generate(who.model, asked, Sampling(modalities="text", max_tokens=7))
    assert [one.text for one in told.choices] == [who.tokenizers.decode(ids) for ids in made]
    pieces = list(client.completions.create(model="millrace", prompt="a", max_tokens=7, stream=True))
    assert "".join(one.choices[0].text for one in pieces) == told.choices[0].text
    stopped = client.completions.create(
        model="millrace", prompt="a", temperature=2.0, seed=1, max_tokens=60, stop=["pict"]
    )
    assert "pict" not in stopped.choices[0].text


def test_embeddings_tell_texts_and_pictures_apart(client: openai.OpenAI, shown: list[str]) -> None:
    asked = ["a dark picture", "a light picture", "a dark picture", shown[0]]
    packed = client.embeddings.create(model="millrace", input=asked)
    plain = client.embeddings.create(model="millrace", input=asked, encoding_format="float")
    states = np.array([one.embedding for one in packed.data])
    assert np.allclose(states, np.array([one.embedding for one in plain.data]), atol=1e-6)
    assert np.allclose(np.linalg.norm(states, axis=1), 1, atol=1e-5)
    assert np.allclose(states[0], states[2], atol=1e-6)
    assert not np.allclose(states[0], states[1], atol=1e-3)
    assert states.shape == (4, 16)


def test_who_asks_at_the_same_time_changes_nothing(client: openai.OpenAI, shown: list[str]) -> None:
    """Rows come and go at each step: captions, guided drawings, long texts and mixed ones, more than there is room for."""

    def ask(i: int) -> Any:
        if i % 4 == 0:
            return client.images.generate(
                prompt="a dark image"[: 1 + i // 2], n=1 + i % 3, extra_body={"temperature": 0}
            ).data
        if i % 4 == 1:
            return client.completions.create(
                model="millrace", prompt="a", temperature=2.0, seed=i, max_tokens=10 + i
            ).choices
        more = {"modalities": ["text", "image"] if i % 4 == 3 else ["text"]}
        told = client.chat.completions.create(
            model="millrace",
            messages=message("", shown[i % 6]),
            temperature=1.0,
            seed=i,
            max_tokens=50,
            extra_body=more,
        )
        return told.choices

    alone = [ask(i) for i in range(24)]
    with ThreadPoolExecutor(24) as together:
        assert list(together.map(ask, range(24))) == alone


def test_a_successor_takes_over_without_a_failed_request(
    who: Answering, network_of: Any, tokenizers: Tokenizers, shown: list[str]
) -> None:
    other = answering("successor", network_of(tokenizers), tokenizers)
    with serving(who, ServeConfig(rows=4, queue=100)) as made:
        asking = openai.OpenAI(base_url=f"{made.url}/v1", api_key="none", max_retries=0, timeout=60)
        heard: list[str] = []
        enough, over = threading.Event(), threading.Event()

        def ask(i: int) -> None:
            while not over.is_set():
                told = asking.chat.completions.create(
                    model="millrace", messages=message("", shown[i]), temperature=2.0, max_tokens=40
                )
                heard.append(told.system_fingerprint or "")
                if len(heard) > 30:
                    enough.set()
                if heard.count("successor") > 30:
                    over.set()

        with ThreadPoolExecutor(6) as clients:
            futures = [clients.submit(ask, i) for i in range(6)]
            assert enough.wait(60)
            made.engine.switch(other)
            assert over.wait(60)
            for future in futures:
                future.result()
        first = heard.index("successor")
        assert set(heard[:first]) == {"toy"}
        assert "toy" not in heard[first + 12 :]  # those under way when it came ended as they began
        assert made.engine.switches == 1
        assert [one.id for one in asking.models.list().data] == ["millrace", "successor"]


def test_models_card_health_and_figures(served: Served, client: openai.OpenAI) -> None:
    told = client.models.retrieve("millrace").model_dump()
    assert (told["checkpoint"], told["languages"], told["picture_side"]) == ("toy", ["en", "fr"], SIDE)
    assert httpx.get(f"{served.url}/card").text == "# Card of toy"
    assert httpx.get(f"{served.url}/healthz").json() == {"status": "ok"}
    client.completions.create(model="toy", prompt="a")
    figures = httpx.get(f"{served.url}/metrics").text
    assert 'millrace_requests_total{route="/v1/completions",status="200"}' in figures
    assert 'millrace_checkpoint{checkpoint="toy"} 1.0' in figures
    with pytest.raises(openai.NotFoundError, match="no model"):
        client.models.retrieve("another")


def test_a_mistake_of_ours_ends_one_answer_and_not_the_server(client: openai.OpenAI, served: Served) -> None:
    heard: list[Told] = []
    ended = threading.Event()

    def broken(who: Answering) -> list[int]:
        raise ZeroDivisionError

    def tell(told: Told) -> None:
        heard.append(told)
        ended.set()

    served.engine.submit([Making(broken, Sampling(), tell)])
    assert ended.wait(30)
    assert isinstance(heard[0].error, ZeroDivisionError)
    assert client.completions.create(model="millrace", prompt="a").choices


def test_a_state_in_base64_is_float32(served: Served) -> None:
    asked = {"input": "a", "encoding_format": "base64"}
    told = httpx.post(f"{served.url}/v1/embeddings", json=asked).json()["data"][0]["embedding"]
    assert len(np.frombuffer(base64.b64decode(told), "<f4")) == 16
