"""The text tokenizer as a tokenizer of `transformers`: a string becomes a whole prompt, and ids a text without tags.

A string that asks for a translation (model/templates.py) becomes  <bos> <lang:fr> <task:translate> ids <sep> ;
any other  <bos> ids <sep> ; with a second text, which answers it, that follows with its  <eos> .
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from tokenizers import Tokenizer
from transformers import BatchEncoding, PreTrainedTokenizerFast
from transformers.tokenization_utils_base import PaddingStrategy, TruncationStrategy

from model import templates
from model.config import Modality, ModelConfig, Vocabulary
from model.sequences import Sequences

C = TypeVar("C", bound=type)


class HubError(Exception):
    """A folder of Hugging Face files cannot be read or asked as it is; the message says what to do."""


def registered(register: Callable[[Any], None]) -> Callable[[C], C]:
    """Makes a class known to the Auto classes as soon as it is defined."""

    def make(made: C) -> C:
        register(made)
        return made

    return make


class GPT4Tokenizer(PreTrainedTokenizerFast):
    """Text to the ids of a prompt, and ids to text. What looks like a special token in a text is read as plain text."""

    padding_side = "left"  # the answer continues a prompt, so padding comes before it
    model_input_names = ["input_ids", "attention_mask"]  # noqa: RUF012 (a list is what transformers wants)

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> GPT4Tokenizer:
        """From the text tokenizer of a store."""
        vocabulary = Vocabulary.of(tokenizer.get_vocab())
        named = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "sep_token": "<sep>"}
        others = [token for token in vocabulary.specials if token not in named.values()]
        return cls(
            tokenizer_object=tokenizer,
            extra_special_tokens=others,
            split_special_tokens=True,
            clean_up_tokenization_spaces=False,
            **named,
        )

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        """A tokenizer from a folder (or repository) that `save_pretrained` or `millrace export` wrote.

        Raises:
            HubError: its file is missing or damaged.
        """
        folder = Path(str(pretrained_model_name_or_path)) / (kwargs.get("subfolder") or "")
        if folder.is_dir():
            try:
                Tokenizer.from_file(str(folder / "tokenizer.json"))
            except Exception as error:  # tokenizers has no class of its own for them
                raise HubError(
                    f"{folder / 'tokenizer.json'} is missing or damaged: {error}; export it again (millrace export)"
                ) from error
        return super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Its size and its special tokens."""
        return Vocabulary.of(self.get_vocab())

    @cached_property
    def sequences(self) -> Sequences:
        """What a sequence of text looks like."""
        text = Modality(name="text", size=self.vocabulary.size)
        return Sequences(ModelConfig(modalities=(text,)), self.vocabulary)

    def ids(self, text: str) -> list[int]:
        """Ids of a text, without special tokens."""
        return self.encode(text, add_special_tokens=False)

    def prompt(self, text: str, answer: str | None = None, most: int | None = None) -> list[int]:
        """Ids of a prompt in words, and of the text that answers it. Of more than `most`, its text is cut at the end.

        Raises:
            HubError: `most` leaves no room for the tags.
        """
        asked = templates.read(text, self.vocabulary)
        body, after = self.ids(asked.text), [] if answer is None else self.sequences.answer(self.ids(answer))
        if most is not None:
            room = most - len(self.sequences.text(asked.lang, asked.task)) - len(after)
            if room < 0:
                raise HubError(f"a prompt of at most {most} ids has no room for its tags: raise max_length")
            body = body[:room]
        return self.sequences.text(asked.lang, asked.task, body) + after

    def _encode_plus(  # type: ignore[override]
        self,
        text: Any,
        text_pair: Any = None,
        add_special_tokens: bool = True,
        padding_strategy: PaddingStrategy = PaddingStrategy.DO_NOT_PAD,
        truncation_strategy: TruncationStrategy = TruncationStrategy.DO_NOT_TRUNCATE,
        max_length: int | None = None,
        **more: Any,
    ) -> BatchEncoding:
        """What `encode` and calling the tokenizer come down to; without special tokens it is the plain tokenizer."""
        if not add_special_tokens:
            return super()._encode_plus(
                text, text_pair, False, padding_strategy, truncation_strategy, max_length, **more
            )
        if any(
            more.get(name)
            for name in ("return_offsets_mapping", "return_overflowing_tokens", "is_split_into_words")
        ):
            raise HubError(
                "offsets, overflow and words are of plain text only: give add_special_tokens=False"
            )
        single = isinstance(text, str)
        texts: Sequence[str] = [text] if single else text
        answers = [None] * len(texts) if text_pair is None else [text_pair] if single else text_pair
        most = None if truncation_strategy == TruncationStrategy.DO_NOT_TRUNCATE else max_length
        rows = [self.prompt(t, a, most) for t, a in zip(texts, answers, strict=True)]
        return self.padded(rows, single, padding_strategy, max_length, **more)

    def padded(
        self,
        rows: Sequence[Sequence[int]],
        single: bool = False,
        padding: bool | str | PaddingStrategy = False,
        max_length: int | None = None,
        return_tensors: str | None = None,
        return_special_tokens_mask: bool = False,
        return_length: bool = False,
        **more: Any,
    ) -> BatchEncoding:
        """Rows of ids as `input_ids` and `attention_mask`, padded if asked to; a single row is no batch unless it becomes
        a tensor."""
        fields: dict[str, Any] = {"input_ids": [list(row) for row in rows]}
        if return_special_tokens_mask:
            special = set(self.all_special_ids)
            fields["special_tokens_mask"] = [[int(i in special) for i in row] for row in rows]
        if return_length:
            fields["length"] = [len(row) for row in rows]
        if single and return_tensors is None:
            fields = {name: values[0] for name, values in fields.items()}
        passed = ("pad_to_multiple_of", "padding_side", "return_attention_mask")
        settings = {name: more[name] for name in passed if more.get(name) is not None}
        return self.pad(fields, padding, max_length, return_tensors=return_tensors, verbose=False, **settings)

    def decode(self, token_ids: Any, skip_special_tokens: bool | None = None, **more: Any) -> str | list[str]:
        """The text of a row of ids, or of each row of a batch; codes of pictures are left out.

        Args:
            skip_special_tokens: True leaves special tokens out; False shows them all; None leaves them out and puts
                what answers a prompt (after its `<sep>`) into a new line.
        """
        return super().decode(token_ids, skip_special_tokens, **more)  # type: ignore[arg-type]

    def batch_decode(
        self, sequences: Any, skip_special_tokens: bool | None = None, *more: Any, **named: Any
    ) -> list[str]:
        """`decode` for each row."""
        return super().batch_decode(sequences, skip_special_tokens, *more, **named)  # type: ignore[arg-type]

    def _decode(self, token_ids: Any, skip_special_tokens: bool | None = None, *_: Any, **__: Any) -> str:
        ids = [token_ids] if isinstance(token_ids, int) else list(token_ids)
        ids = [i for i in ids if 0 <= i < self.vocabulary.size]
        if skip_special_tokens is not None:
            text = self.backend_tokenizer.decode(ids, skip_special_tokens=skip_special_tokens)
            return text.removeprefix(" ")
        parts, sep = [[]], self.vocabulary["<sep>"]  # type: list[list[int]], int
        for i in ids:
            if i == sep:
                parts.append([])
            else:
                parts[-1].append(i)
        texts = [
            self.backend_tokenizer.decode(part, skip_special_tokens=True).removeprefix(" ") for part in parts
        ]
        return "\n".join(text for text in texts if text)
