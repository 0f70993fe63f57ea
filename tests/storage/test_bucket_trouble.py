"""A bucket that refuses, is not there or stops answering: a line that says what to do, and nothing secret."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from storage import bucket
from storage.errors import StoreError, StoreUnreachable, translated
from storage.log import Log
from storage.store import Store


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Time-outs short enough for a test."""
    for name, value in {"CONNECT_S": 1, "REQUEST_S": 1, "TRIES": 1}.items():
        monkeypatch.setattr(bucket, name, value)
    bucket._client.cache_clear()
    yield
    bucket._client.cache_clear()


def check(error: BaseException, user: tuple[str, str], caplog: pytest.LogCaptureFixture) -> None:
    """Neither the message, nor a traceback of it, nor the log holds a credential."""
    told = "".join(traceback.format_exception(error)) + caplog.text
    assert not any(secret in told for secret in user) and "Authorization" not in told


def test_a_bucket_that_refuses(tmp_path, new_bucket, s3_user, refusing, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    store = Store.open(tmp_path / "mill", tables=f"s3://{new_bucket}/corpus")
    store.append("splits", store.read("splits"), parts=["p"])
    monkeypatch.setenv("AWS_ENDPOINT_URL", refusing.url)
    for ask in (
        lambda: Store.open(tmp_path / "new", tables=f"s3://{new_bucket}/corpus"),
        lambda: Store.open(store.path),
        lambda: store.version("samples"),
        lambda: store.append("splits", store.read("splits"), parts=["q"]),
        lambda: store.columns("splits"),  # delta-rs asks
    ):
        with pytest.raises(StoreUnreachable, match=r"access denied; set AWS_ACCESS_KEY_ID") as caught:
            ask()
        check(caught.value, s3_user, caplog)
    assert not (tmp_path / "new").exists()


def test_a_bucket_that_does_not_answer_any_more(tmp_path, new_bucket, s3_user, refusing, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    table = f"s3://{new_bucket}/corpus"
    store = Store.open(tmp_path / "mill", tables=table)
    rows = store.read("splits").slice(0, 0)
    store.append("splits", rows, parts=["p"])
    refusing.shutdown()
    refusing.server_close()
    monkeypatch.setenv("AWS_ENDPOINT_URL", refusing.url)
    for ask in (
        lambda: Store.open(store.path),
        lambda: store.append("splits", rows, parts=["q"]),
        lambda: store.columns("splits"),
        lambda: store.connect(),
    ):
        with pytest.raises(
            StoreUnreachable, match=r"127\.0\.0\.1:\d+ does not answer; look at the network"
        ) as caught:
            ask()
        check(caught.value, s3_user, caplog)
    monkeypatch.undo()


def test_rows_that_cannot_be_read_any_more(
    tmp_path, new_bucket, s3_user, s3_server, refusing, monkeypatch, ingest
):
    store = Store.open(tmp_path / "mill", tables=f"s3://{new_bucket}/corpus")
    ingest("p", ["a"], into=store)
    files = store.files("samples")
    fresh = Store.open(store.path)
    assert fresh.files("samples") == files
    monkeypatch.setenv("AWS_ENDPOINT_URL", refusing.url)
    with (
        fresh.cursor() as con,
        pytest.raises(StoreUnreachable, match="access denied") as caught,
        translated("samples"),
    ):
        con.sql(fresh.select("samples", files)).fetchall()
    assert not any(secret in "".join(traceback.format_exception(caught.value)) for secret in s3_user)


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ("s3://key:secret@bucket/x", "no credentials in a path"),
        ("s3://bucket/a b", "a key of a store has letters, digits"),
        ("s3://bucket/x?acces_key=secret", "unknown acces_key"),
        ("gs://bucket/x", "as in s3://bucket/folder"),
        ("s3:///x", "name a bucket"),
    ],
)
def test_a_wrong_address_is_told(tmp_path, tables, said):
    with pytest.raises(StoreError, match=said) as caught:
        Store.open(tmp_path / "mill", tables=tables)
    assert "secret" not in str(caught.value) and not (tmp_path / "mill").exists()


@pytest.mark.parametrize("blind", [False, True])
def test_an_answer_that_is_lost_loses_no_rows(tmp_path, new_bucket, monkeypatch, blind):
    """A commit that was made and not heard of: its files must not be taken away, and its rows not come twice."""
    store = Store.open(tmp_path / "mill", tables=f"s3://{new_bucket}/corpus")
    rows = pa.table({"sample_id": ["a"], "split": ["train"]})
    store.append("splits", rows.slice(0, 0), parts=["before"])
    make, look = DeltaTable.create_write_transaction, Log.refresh

    def unheard(*arguments: Any, **more: Any) -> None:
        make(*arguments, **more)
        if blind:
            monkeypatch.setattr(Log, "refresh", silent)
        raise OSError("Generic S3 error: error sending request")

    def silent(log: Log) -> int:
        raise StoreUnreachable("does not answer")

    monkeypatch.setattr(DeltaTable, "create_write_transaction", unheard)
    if blind:
        with pytest.raises(StoreUnreachable):
            store.append("splits", rows, parts=["p"])
        monkeypatch.setattr(Log, "refresh", look)
        assert not store.append("splits", rows, parts=["p"])
    else:
        assert store.append("splits", rows, parts=["p"])
    assert store.read("splits")["sample_id"].to_pylist() == ["a"]
