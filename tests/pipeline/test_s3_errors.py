"""A bucket that refuses, moves, breaks off or is not there: a line that says what to do, and nothing secret."""

from __future__ import annotations

import socket
import time
from typing import Any

import pyarrow as pa
import pytest

from pipeline import files
from pipeline.errors import BucketError, SourceError
from pipeline.sources.folder import Folder
from pipeline.sources.parquet import Parquet
from pipeline.sources.webdataset import WebDataset
from storage import bucket
from tests.refusing import Refusing

NOTHING = pa.table({"origin": pa.array([], pa.string()), "version": pa.array([], pa.string())})
KEY, SECRET = "AKIDNOTTOBESEEN", "secret+not/to/be/seen"


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials that no message may hold, and time-outs short enough for a test."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setattr(bucket, "CONNECT_S", 1)
    monkeypatch.setattr(bucket, "REQUEST_S", 1)
    monkeypatch.setattr(bucket, "TRIES", 2)
    bucket._client.cache_clear()


def sources(bucket: str, query: str = "") -> list[Any]:
    return [
        Folder(path=f"s3://{bucket}/a{query}"),
        WebDataset(path=f"s3://{bucket}/a/*.tar{query}"),
        Parquet(path=f"s3://{bucket}/a/x.parquet{query}"),
        Parquet(path=f"s3://{bucket}/a/*.parquet{query}", query="SELECT 1 AS key, 'a' AS text"),
    ]


def told(source: Any) -> str:
    """The error of a source: two lines at most, without anything secret, and without the SDK's words."""
    with pytest.raises(SourceError) as caught:
        [*source.shards(NOTHING)]
    said = str(caught.value)
    assert len(said) < 330 and "\n" not in said
    for secret in (KEY, SECRET, "AWS Error", "curlCode", "Request ID"):
        assert secret not in said
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return said


DENIED = (
    '<?xml version="1.0"?><Error><Code>{code}</Code><Message>The AWS Access Key Id '
    + KEY
    + " with "
    + SECRET
    + " is "
    "refused.</Message><AWSAccessKeyId>"
    + KEY
    + "</AWSAccessKeyId><StringToSign>"
    + SECRET
    + "</StringToSign></Error>"
)


@pytest.mark.parametrize(
    "code", ["AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"]
)
def test_access_denied(refusing: Refusing, code: str):
    refusing.status, refusing.body = 403, DENIED.format(code=code)
    for source in sources("private", f"?endpoint={refusing.url}"):
        said = told(source)
        assert said.startswith("s3://private/a") and "access denied; set AWS_ACCESS_KEY_ID" in said


@pytest.mark.parametrize(
    ("status", "says"), [(301, "another region; set AWS_REGION"), (503, "does not answer; look at")]
)
def test_other_answers_of_a_server(refusing: Refusing, status: int, says: str):
    refusing.status, refusing.body = status, ""
    for source in sources("there", f"?endpoint={refusing.url}"):
        assert says in told(source)


def test_an_endpoint_that_is_not_there():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    for source in sources("there", f"?endpoint=http://127.0.0.1:{port}"):
        said = told(source)
        assert f"127.0.0.1:{port} does not answer; look at the network and at AWS_ENDPOINT_URL" in said


def test_an_endpoint_that_never_answers_is_given_up(refusing: Refusing):
    refusing.status, started = 0, time.monotonic()
    said = told(Folder(path=f"s3://there/a?endpoint={refusing.url}"))
    assert "does not answer" in said and time.monotonic() - started < 15


def test_an_object_that_breaks_off_is_no_shorter_object(refusing: Refusing):
    refusing.status, refusing.body, refusing.missing = 200, "x" * 1000, 1000
    file = files.at(f"s3://there/x.txt?endpoint={refusing.url}")
    with pytest.raises(BucketError, match="does not answer"):
        file.read_bytes()
    with pytest.raises(BucketError, match="does not answer"):
        files.identity(file)


@pytest.mark.parametrize(
    ("path", "says"),
    [
        (f"s3://{KEY}:{SECRET}@bucket/a", "no credentials in a path"),
        ("s3:///a", "name a bucket"),
        ("s3://bucket/a?secret_key=" + SECRET, "unknown secret_key; after the ?"),
        (f"s3://bucket/a?endpoint=http://{KEY}:{SECRET}@h", "name a server"),
        ("s3://bucket/a?endpoint=" + SECRET, "name a server"),
        ("s3://bucket/a?anonymous=yes", "anonymous is true or false"),
        ("gs://bucket/a", "a path of this machine or s3://bucket"),
        (f"https://{KEY}:{SECRET}@h/a", "a path of this machine or s3://bucket"),
    ],
)
def test_a_path_with_a_mistake(path: str, says: str):
    for kind in (Folder, WebDataset, Parquet):
        assert says in told(kind(path=path))
    assert SECRET not in repr(bucket._client.cache_parameters())
