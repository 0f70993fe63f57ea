"""The one list of tables and columns: name, type, unit, and a sentence for each.

A table's content hash covers its `hashed` columns, rows in the order of its key. Left out are
columns that say *when* or *by which part* a row was written, because two equal corpora may differ there.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa

SCHEMA_VERSION = 5
"""Raised by every change to a table below; `storage.migrations` holds a step for each."""

STRING, BINARY, BOOL = pa.string(), pa.binary(), pa.bool_()
INT, LONG, FLOAT, DOUBLE = pa.int32(), pa.int64(), pa.float32(), pa.float64()
TIME = pa.timestamp("us", tz="UTC")
IDS = pa.list_(pa.int32())


@dataclass(frozen=True)
class Column:
    """A typed column with the sentence that documents it."""

    name: str
    type: pa.DataType
    doc: str
    unit: str = ""
    hashed: bool = True

    def field(self) -> pa.Field:
        return pa.field(self.name, self.type, metadata={"doc": self.doc, "unit": self.unit})


PART = Column("part", STRING, "Key of the part that committed this row.", hashed=False)


def at(doc: str, name: str = "recorded_at") -> Column:
    return Column(name, TIME, doc, unit="UTC", hashed=False)


@dataclass(frozen=True)
class Table:
    """A table: its key columns order its rows, and deletes go by the first of them."""

    name: str
    doc: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]

    @cached_property
    def schema(self) -> pa.Schema:
        return pa.schema([column.field() for column in self.columns])

    @property
    def hashed(self) -> list[str]:
        return [column.name for column in self.columns if column.hashed]


def signal_table(name: str, key: str, schema: pa.Schema, doc: str = "") -> Table:
    """The narrow table of an annotator: its key, its columns, its part."""
    columns = tuple(Column(f.name, f.type, (f.metadata or {}).get(b"doc", b"").decode()) for f in schema)
    return Table(name, doc, (key,), (Column(key, STRING, "What was annotated."), *columns, PART))


SAMPLE_ID = Column("sample_id", STRING, "blake2b-128 of (source name, origin, position), hex.")
IMAGE_ID = Column("image_id", STRING, "sha256 of the stored bytes, hex.")
RUN_ID = Column("run_id", STRING, "The run.")
CHECKPOINT_ID = Column("checkpoint_id", STRING, "sha256 of the weights, hex, first 16.")

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        Table(
            "images",
            "Every picture once, upright, RGB, without metadata, however many samples refer to it.",
            ("image_id",),
            (
                IMAGE_ID,
                Column("image", BINARY, "The stored, re-encoded picture.", "bytes"),
                Column("width", INT, "Stored width.", "pixels"),
                Column("height", INT, "Stored height.", "pixels"),
                Column("format", STRING, "Stored encoding: png or jpeg."),
                Column("frames", INT, "Frames of the original; the first one is stored."),
                Column("original_mode", STRING, "Pillow mode of the original."),
                Column("original_format", STRING, "Encoding of the original."),
                Column("original_width", INT, "Width before orientation and resizing.", "pixels"),
                Column("original_height", INT, "Height before orientation and resizing.", "pixels"),
                Column("original_bytes", LONG, "Length of the original file.", "bytes"),
                PART,
            ),
        ),
        Table(
            "samples",
            "One row per caption, question, translation, story or page segment that came in.",
            ("sample_id",),
            (
                SAMPLE_ID,
                Column("document_id", STRING, "Rows that belong together, in `position` order."),
                Column("position", INT, "Place within the document."),
                Column("source", STRING, "Name of the source in the configuration."),
                Column("origin", STRING, "Stable key within the source: a relative path, URL or row."),
                Column("version", STRING, "Size and time, or the like, by which a change is noticed."),
                Column("url", STRING, "Where the picture was fetched from, if it was."),
                Column("page_url", STRING, "The page that showed it, if known."),
                Column("image_id", STRING, "The stored picture; null for text or when undecodable."),
                Column("prompt", STRING, "What conditions the text: a question, a source sentence."),
                Column("text", STRING, "The caption, answer, translation or story; null if unlabelled."),
                Column("text_bytes", LONG, "Length of the text as it came.", "bytes"),
                Column("lang", STRING, "BCP 47 language of the text."),
                Column("task", STRING, "caption, vqa, translate, title, summarize, text or label."),
                Column("label", STRING, "Class label of a labelled row, else null."),
                Column("licence", STRING, "SPDX id, or as the source states it."),
                Column("author", STRING, "Whom to credit."),
                Column("consent", STRING, "allowed, refused or unknown."),
                Column("held_out", BOOL, "The source is an evaluation set: never trained on."),
                Column("fetched_at", TIME, "When it was read.", "UTC", hashed=False),
                Column("http", STRING, "JSON: headers of the answer that matter later.", hashed=False),
                PART,
            ),
        ),
        Table(
            "attempts",
            "The ledger: every fetch, its outcome and when it is next due.",
            ("url", "attempt"),
            (
                Column("url", STRING, "What was asked for."),
                Column("attempt", INT, "1 for the first."),
                Column("host", STRING, "Host of the URL."),
                Column("outcome", STRING, "ok or an error class."),
                Column("status", INT, "HTTP status, if one came."),
                Column("bytes", LONG, "Body length after decompression.", "bytes"),
                Column("milliseconds", INT, "Duration.", "ms", hashed=False),
                Column("next_due", TIME, "When a retry is due; null for never.", "UTC", hashed=False),
                at("When it was tried."),
                PART,
            ),
        ),
        Table(
            "consents",
            "Whether a site lets us take a URL, with the evidence.",
            ("url",),
            (
                Column("url", STRING, "What was asked for, without names and passwords."),
                Column("allowed", BOOL, "Whether it may be taken."),
                Column("basis", STRING, "The sign: robots, x-robots-tag, meta, tdmrep or none."),
                Column(
                    "evidence", STRING, "The words that say so, or the digest of a file that forbids nothing."
                ),
                Column("evidence_url", STRING, "Where they stand."),
                at("When it was decided."),
                PART,
            ),
        ),
        Table(
            "cursors",
            "Where each source stopped, so that its next walk takes only what is new.",
            ("source", "recorded_at"),
            (
                Column("source", STRING, "Name of the source."),
                Column("fingerprint", STRING, "Of the source's settings: others start anew."),
                Column("value", STRING, "A date, a token or the like: the source's own."),
                at("When the walk was complete."),
                PART,
            ),
        ),
        Table(
            "decisions",
            "One row per incoming row and deciding stage: came in = kept + dropped by reason.",
            ("sample_id", "stage"),
            (
                SAMPLE_ID,
                Column("source", STRING, "Name of the source."),
                Column("stage", STRING, "collect, filter or the name of a gather."),
                Column("kept", BOOL, "Whether it goes on."),
                Column("reason", STRING, "Why it was dropped; null when kept."),
                Column("detail", STRING, "More on the reason: never the content itself."),
                Column("policy", STRING, "Fingerprint of the step or chain that decided."),
                PART,
            ),
        ),
        Table(
            "groups",
            "Near-copies: pictures of one group are the same picture for dedupe and splits.",
            ("image_id",),
            (
                IMAGE_ID,
                Column("group_id", STRING, "image_id of the group's first member."),
                PART,
            ),
        ),
        Table(
            "splits",
            "Sticky split of each kept sample, by duplicate group and document.",
            ("sample_id",),
            (
                SAMPLE_ID,
                Column("cluster_id", STRING, "Smallest unit that may not straddle a split."),
                Column("split", STRING, "train, validation or test."),
                PART,
            ),
        ),
        Table(
            "text_tokens",
            "Token ids of prompt and text under a frozen tokenizer.",
            ("sample_id", "tokenizer_id"),
            (
                SAMPLE_ID,
                Column("tokenizer_id", STRING, "sha256 of the tokenizer file, hex, first 16."),
                Column("prompt_ids", IDS, "Ids of the prompt; empty when there is none."),
                Column("ids", IDS, "Ids of the text, without special tokens."),
                PART,
            ),
        ),
        Table(
            "image_tokens",
            "Codes of a picture under a frozen image tokenizer.",
            ("image_id", "tokenizer_id"),
            (
                IMAGE_ID,
                Column("tokenizer_id", STRING, "sha256 of the tokenizer's weights, hex, first 16."),
                Column("codes", IDS, "Codes in raster order."),
                PART,
            ),
        ),
        Table(
            "snapshots",
            "Named, frozen sets of table versions and rows: what a training run reads.",
            ("snapshot",),
            (
                Column("snapshot", STRING, "Name."),
                Column("content_hash", STRING, "Hash of all that a run may read through it."),
                Column("versions", STRING, "JSON: table to pinned version.", hashed=False),
                Column("text_tokenizer", STRING, "Id, or null for a data snapshot."),
                Column("image_tokenizer", STRING, "Id, or null."),
                Column("rows", LONG, "Members.", "rows"),
                Column("licences", STRING, "JSON: licence to rows."),
                Column("amended_by", STRING, "The snapshot that replaced this one after a takedown."),
                at("When it was committed."),
                PART,
            ),
        ),
        Table(
            "members",
            "Which samples a snapshot holds, and in which split.",
            ("snapshot", "sample_id"),
            (
                Column("snapshot", STRING, "Name of the snapshot."),
                SAMPLE_ID,
                Column("split", STRING, "train, validation or test."),
                PART,
            ),
        ),
        Table(
            "runs",
            "Every run: what it was asked, on which snapshot, how it ended.",
            ("run_id", "state"),
            (
                RUN_ID,
                Column("kind", STRING, "ingest, fit, train, evaluate, export or snapshot."),
                Column("state", STRING, "started, finished or failed; contaminated: taken knowingly."),
                Column("snapshot", STRING, "The snapshot read or made."),
                Column("config", STRING, "JSON of the settings."),
                Column("code_version", STRING, "Commit or package version."),
                at("When."),
                PART,
            ),
        ),
        Table(
            "metrics",
            "Figures of a run while it runs.",
            ("run_id", "step", "name"),
            (
                RUN_ID,
                Column("step", LONG, "Optimizer step."),
                Column("name", STRING, "loss_text, loss_image, tokens_per_second …"),
                Column("value", DOUBLE, "Value."),
                at("When."),
                PART,
            ),
        ),
        Table(
            "batch_plan",
            "Which samples each step of a run saw, in which row of the batch.",
            ("run_id", "step", "slot"),
            (
                RUN_ID,
                Column("step", LONG, "Optimizer step."),
                Column("slot", INT, "Row of the batch; beyond them, items of each further objective."),
                Column("sample_ids", pa.list_(STRING), "Samples packed in that row, in order."),
                PART,
            ),
        ),
        Table(
            "checkpoints",
            "Every saved model.",
            ("checkpoint_id",),
            (
                CHECKPOINT_ID,
                RUN_ID,
                Column("step", LONG, "Optimizer steps done."),
                Column("snapshot", STRING, "What it was trained on."),
                Column("path", STRING, "Folder, relative to the store; null once it was pruned."),
                Column("parameters", LONG, "Trained parameters."),
                at("When."),
                PART,
            ),
        ),
        Table(
            "evaluations",
            "Scores of a checkpoint with their confidence intervals.",
            ("evaluation_id", "task", "metric", "subset"),
            (
                Column("evaluation_id", STRING, "The evaluation."),
                CHECKPOINT_ID,
                Column("snapshot", STRING, "Whose held-out rows."),
                Column("task", STRING, "caption, vqa …"),
                Column("metric", STRING, "exact, count, colour …"),
                Column("subset", STRING, "all, a language, an unseen combination …"),
                Column("value", DOUBLE, "Score."),
                Column("low", DOUBLE, "2.5% bootstrap bound."),
                Column("high", DOUBLE, "97.5% bootstrap bound."),
                Column("n", LONG, "Items.", "items"),
                at("When."),
                PART,
            ),
        ),
        Table(
            "answers",
            "The items behind the scores, so that each can be read again.",
            ("evaluation_id", "sample_id", "part_of", "task"),
            (
                Column("evaluation_id", STRING, "The evaluation."),
                SAMPLE_ID,
                Column("part_of", STRING, "Tells a row's items apart: its pair of languages … or empty."),
                Column("prompt_id", STRING, "The sample whose text was the prompt, if not its own."),
                Column("task", STRING, "caption, vqa …"),
                Column("expected", STRING, "Reference."),
                Column("output", STRING, "What the model said."),
                Column("correct", BOOL, "Exactly right."),
                Column("trivial", STRING, "What the baseline said."),
                Column("scores", STRING, "JSON: metric to the score of this item."),
                PART,
            ),
        ),
        Table(
            "promotions",
            "Every decision on which checkpoint answers for the store: promoted, refused, rolled back.",
            ("promotion_id",),
            (
                Column("promotion_id", STRING, "The decision."),
                Column("outcome", STRING, "promoted, refused or rolled_back."),
                Column("checkpoint_id", STRING, "The challenger; after a rollback the champion again."),
                Column("champion", STRING, "The champion before; null if there was none."),
                Column("reason", STRING, "Why, in a sentence."),
                Column("decided_by", STRING, "rule, person or force."),
                Column("snapshot", STRING, "Whose held-out rows both were asked."),
                Column("items", LONG, "Held-out rows that both were asked.", "items"),
                Column("gain", DOUBLE, "Share of right answers, challenger less champion."),
                Column("low", DOUBLE, "2.5% bound of the gain by a paired bootstrap."),
                Column("high", DOUBLE, "97.5% bound."),
                Column("groups", STRING, "JSON: for each group its items, both shares and whether it fell."),
                at("When."),
                PART,
            ),
        ),
        Table(
            "forgotten",
            "The record of every takedown: who asked, what went, what it touched; never what it was.",
            ("request_id",),
            (
                Column("request_id", STRING, "The takedown."),
                Column("requested_by", STRING, "Who answers for it."),
                Column("named", STRING, "JSON: kind and salted digest of each thing that was named."),
                Column("rows", LONG, "Samples that went.", "rows"),
                Column("pictures", LONG, "Pictures that went with them.", "pictures"),
                Column("counts", STRING, "JSON: table to the rows of its newest version that went."),
                Column("affected", STRING, "JSON: snapshots, and checkpoints whose batches held such rows."),
                at("When it was complete."),
                Column("seal", STRING, "HMAC of all this by the store's forget.key, hex."),
                PART,
            ),
        ),
        Table(
            "blocklist",
            "What may not come in again, as salted digests.",
            ("kind", "digest"),
            (
                Column("kind", STRING, "sample, picture, looks, url, host, source, licence or text."),
                Column("digest", STRING, "HMAC by the store's forget.key; of looks two masked hashes, hex."),
                Column("radius", INT, "Of looks: most bits in which each hash may differ.", "bits"),
                Column("request_id", STRING, "The takedown that named it."),
                PART,
            ),
        ),
        Table(
            "gaps",
            "Where an amended snapshot's batches hold padding: places and lengths of what was forgotten.",
            ("snapshot", "split", "picture_of", "place"),
            (
                Column("snapshot", STRING, "The amended snapshot."),
                Column("split", STRING, "train, validation or test."),
                Column("picture_of", LONG, "Place of a text's picture, -1 for none; null: it is a picture."),
                Column("place", LONG, "Place among the split's texts or pictures, in the order of ids."),
                Column("lang", STRING, "Language of a text."),
                Column("task", STRING, "Its task."),
                Column("prompt_tokens", INT, "Tokens of its prompt.", "tokens"),
                Column("text_tokens", INT, "Its own.", "tokens"),
                PART,
            ),
        ),
    )
}
