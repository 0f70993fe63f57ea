"""Captions that advertise instead of describing."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from pipeline.step import Filter

URL = (
    r"(?i)(?:https?|ftp)://\S|\bwww\.[\w-]+\.\w"
    r"|(?:^|[\s(\[<\"'])(?:[\w-]+\.)+(?:com|net|org|info|biz|shop|store|xyz|ru|cn|de|fr|io)\b(?:[/\s),.!?]|$)"
)
CALLS = (
    r"\bclick (?:here|now|this link|the link|on (?:the|this) link|to (?:buy|order|shop|claim|win))\b",
    r"\b(?:buy|order|shop|call|apply|subscribe|sign up|join|act|download) now\b",
    r"\b(?:buy|order|shop|sign up|subscribe) (?:today|online)\b",
    r"\badd to (?:cart|basket)\b|\bwhile (?:stocks?|supplies) last\b|\bviagra\b|\bonline casino\b",
    r"\bwork from home\b.*\$|\bwin (?:a|big|cash)\b.{0,20}(?:prize|!)",
    r"\bcliquez (?:ici|sur le lien)\b|\b(?:achetez|commandez) (?:maintenant|d[èe]s|en ligne)\b",
    r"\bhier klicken\b|\bklicken sie (?:hier|jetzt)\b|\bjetzt (?:kaufen|bestellen|klicken|zugreifen)\b",
    r"\bhaz clic\b|\bcompr[ae] (?:ahora|ya)\b",
    r"点击(?:这里|此处|购买|链接)|立即(?:购买|抢购|下单|订购)|(?:免费|全国)包邮",
)
"""One of these is enough."""
HINTS = (
    r"\bfree (?:shipping|delivery|download|trial|gift|quote)\b|\bmoney[- ]back\b|\bsatisfaction guaranteed\b",
    r"\b(?:limited|special|exclusive) (?:time|offer|stock|deal)s?\b|\bhot deals?\b|\bact fast\b",
    r"\bdon['’]?t miss\b",
    r"\b(?:best|lowest|cheapest|unbeatable) (?:price|deal|offer)s?\b",
    r"\d ?% (?:off|discount|rabatt|de r[ée]duction)\b",
    r"\b(?:visit|check out|follow) (?:our|us|my)\b|\bonly \$\d|\bcall (?:us|today)\b",
    r"\bearn (?:money|cash|\$)",
    r"\blivraison gratuite\b|\boffre (?:sp[ée]ciale|limit[ée]e)\b|\bmeilleurs? prix\b",
    r"\bkostenloser? versand\b|\bversandkostenfrei\b|\bsonderangebot\b|\bbester? preise?\b",
    r"\benv[íi]o gratis\b|\boferta (?:especial|limitada)\b",
    r"限时(?:优惠|特价|抢购|折扣)|最低价|特价|促销|优惠价|包邮|免费(?:送货|配送|下载)",
)
"""Of these it takes two: people say them, too."""
SHOUT = r"[!！]{3,}|[$€£]{3,}|(?:★|☆|✔|►|🔥){2,}"
HASHTAG = r"[#＃][\p{L}\p{N}_]+"


class CaptionSpam(Filter):
    """Keeps a caption without web addresses, calls to buy or click, stacked hashtags and repetition."""

    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("task", "text")
    urls: bool = Field(True, description="Drop captions that hold a web address.")
    calls: tuple[str, ...] = Field(CALLS, description="Regular expressions (RE2, any case): one is enough.")
    hints: tuple[str, ...] = Field(HINTS, description="The same, of which it takes two.")
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
        for phrases, enough in ((self.calls, 1), (self.hints, 2)):
            if phrases:
                any_phrase = "(?i)" + "|".join(f"(?:{phrase})" for phrase in phrases)
                spam = pc.or_(spam, pc.greater_equal(pc.count_substring_regex(text, any_phrase), enough))
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
