"""Captions that advertise instead of describing."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from pipeline.step import Filter

URL = r"(?i)(?:https?|ftp)://\S|\bwww\.[\w-]+\.\w|\b[\w-]+\.(?:com|net|org|info|biz|shop|store|xyz|top|ru|cn)\b(?:/|\s|$)"
PHRASES = (
    r"click (?:here|now|on|the|this|to|for)", r"(?:buy|order|shop|call|book|apply|subscribe|sign up|join|act) (?:now|today|here|online)",
    r"free (?:shipping|delivery|download|trial|gift|quote)", r"limited (?:time|offer|stock|edition offer)", r"best (?:price|deal|offer)s?\b",
    r"lowest price", r"\d+ ?% (?:off|discount|rabatt|de r[ée]duction|de remise)", r"special offer", r"money[- ]back", r"(?:visit|check out|follow) (?:our|us|my)\b",
    r"add to (?:cart|basket)", r"hot deal", r"act fast", r"while (?:stocks?|supplies) last", r"don'?t miss", r"satisfaction guaranteed",
    r"work from home", r"earn (?:money|cash|\$)", r"casino", r"viagra", r"win (?:a|big|cash|now)\b.{0,20}(?:prize|!|now)", r"download (?:now|here|free|for free)",
    r"cliquez (?:ici|sur|pour)", r"achetez (?:maintenant|d[èe]s)", r"livraison gratuite", r"offre (?:sp[ée]ciale|limit[ée]e)", r"meilleurs? prix",
    r"klicken sie", r"hier klicken", r"jetzt (?:kaufen|bestellen|klicken|zugreifen|sichern)", r"kostenloser? versand", r"sonderangebot", r"bester? preise?",
    r"点击(?:这里|此处|购买|链接|查看)", r"立即(?:购买|抢购|下单|订购)", r"(?:免费|全国)(?:包邮|送货|配送|下载)|包邮", r"限时(?:优惠|特价|抢购|折扣)", r"最低价|特价|促销|优惠价",
    r"haz clic", r"compr[ae] (?:ahora|ya)", r"env[íi]o gratis",
)  # fmt: skip
SHOUT = r"[!！]{3,}|[$€£]{3,}|(?:★|☆|✔|►|🔥){2,}"
HASHTAG = r"[#＃][\p{L}\p{N}_]+"


class CaptionSpam(Filter):
    """Keeps a caption without addresses, calls to buy or click, stacked hashtags and words said over and over."""

    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("task", "text")
    urls: bool = Field(True, description="Drop captions that hold a web address.")
    phrases: tuple[str, ...] = Field(PHRASES, description="Regular expressions (RE2), held against any case.")
    hashtags: int = Field(2, ge=0, description="Most hashtags.")
    repeated: float = Field(
        0.5, ge=0, le=1, description="Most of a caption's word pairs that may be repetitions."
    )
    tasks: tuple[str, ...] = Field(("caption",), description="Tasks that are judged.")

    def keep(self, rows: pa.Table) -> pa.Array | pa.ChunkedArray:
        coded = _chunk(rows["text"].cast(pa.string())).dictionary_encode()
        clean = self._clean(coded.dictionary).take(coded.indices)  # each text judged once
        other_task = pc.invert(pc.is_in(rows["task"], pa.array(self.tasks, pa.string())))
        return pc.or_kleene(clean, _chunk(other_task))

    def _clean(self, text: pa.Array) -> pa.Array:
        spam = pc.match_substring_regex(text, SHOUT)
        if self.urls:
            spam = pc.or_(spam, pc.match_substring_regex(text, URL))
        if self.phrases:
            spam = pc.or_(
                spam, pc.match_substring_regex(text, "(?i)" + "|".join(f"(?:{p})" for p in self.phrases))
            )
        spam = pc.or_(spam, pc.greater(pc.count_substring_regex(text, HASHTAG), self.hashtags))
        spam = pc.or_(spam, pc.greater(repetition(text), self.repeated))
        return pc.invert(spam)


def repetition(text: pa.Array) -> pa.Array:
    """Share of each text's word pairs that occurred before in it, 0 under six words: float64 [n]."""
    split = pc.split_pattern_regex(pc.utf8_trim_whitespace(pc.utf8_lower(text)), r"[^\p{L}\p{M}\p{N}]+")
    lists = pc.fill_null(split, pa.scalar([], split.type)) if split.null_count else split
    length = pc.list_value_length(lists).to_numpy(zero_copy_only=False).astype(np.int64)
    row = np.repeat(np.arange(len(length)), length)
    word = pc.list_flatten(lists).dictionary_encode().indices.to_numpy(zero_copy_only=False).astype(np.int64)
    inside = row[1:] == row[:-1]
    pairs = np.stack([row[1:], word[:-1], word[1:]], 1)[inside]
    distinct = np.bincount(np.unique(pairs, axis=0)[:, 0], minlength=len(length)) if len(pairs) else 0
    total = np.maximum(length - 1, 1)
    return pa.array(np.where(length >= 6, 1 - distinct / total, 0.0))


def _chunk(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
