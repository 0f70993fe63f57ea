"""Objects of a bucket, with as much of `pathlib.Path` as the sources use: s3://bucket/key?endpoint=…&region=…

Keys are taken as they are written. The endpoint and the region may stand in the URI; otherwise they come, like the
credentials, from the usual variables (AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID …) or profile. What the SDK
says of an error is never shown: it may hold parts of a credential. Requests have time limits and few tries.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import io
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import IO, Any
from urllib.parse import parse_qsl, urlsplit

import pyarrow as pa
from pyarrow import fs

from pipeline.errors import BucketError, SourceError

SCHEME = "s3://"
SETTINGS = ("endpoint", "region", "anonymous")
CONNECT_S, REQUEST_S, TRIES = 5, 30, 3
BUFFER = 8 << 20
"""Bytes asked for at once of a file that is read from its beginning to its end."""
_QUERY = re.compile(r"\?([a-z_]+=[^?]*)$")
_ENDPOINT = re.compile(r"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?/?")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_CODE = re.compile(r"AWS Error ([A-Z_]+)|ExceptionName: (\w+)")
_STATUS = re.compile(r"HTTP status (\d{3})")
_CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE")

NETWORK = frozenset(
    {"NETWORKCONNECTION", "REQUESTTIMEOUT", "SLOWDOWN", "SERVICEUNAVAILABLE", "THROTTLING", "INTERNALFAILURE"}
)
REFUSED = frozenset(
    {
        "ACCESSDENIED", "ALLACCESSDISABLED", "EXPIREDTOKEN", "INVALIDACCESSKEYID", "INVALIDCLIENTTOKENID",
        "INVALIDSIGNATURE", "INVALIDTOKEN", "MISSINGAUTHENTICATIONTOKEN", "REQUESTEXPIRED", "REQUESTTIMETOOSKEWED",
        "SIGNATUREDOESNOTMATCH", "UNRECOGNIZEDCLIENT",
    }
)  # fmt: skip
"""The SDK's and the servers' names of errors, without underscores."""


@dataclass(frozen=True)
class S3File:
    """An object, a folder of objects, or a pattern of them."""

    bucket: str
    key: str
    query: str = ""
    size: int = -1
    """Bytes, as the listing said; -1 where nobody asked."""
    mtime: int = 0
    """When it was last written, in ns since 1970."""

    @classmethod
    def parse(cls, uri: str) -> S3File:
        """The file of a URI.

        Raises:
            SourceError: a part of it is wrong; the message repeats nothing that could be secret.
        """
        found = _QUERY.search(uri)
        rest = uri[len(SCHEME) : found.start() if found else None]
        bucket, _, key = rest.partition("/")
        if "@" in bucket or ":" in bucket:
            raise SourceError(
                "s3://…: no credentials in a path; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
        if not _BUCKET.fullmatch(bucket):
            raise SourceError("s3://…: name a bucket, as in s3://bucket/folder/*.tar")
        query = found.group(1) if found else ""
        _settings(query)
        return cls(bucket, key, query)

    @property
    def path(self) -> PurePosixPath:
        """The key as a path within the bucket."""
        return PurePosixPath(self.key)

    @property
    def name(self) -> str:
        return self.path.name or self.bucket

    @property
    def stem(self) -> str:
        return self.path.stem

    @property
    def suffix(self) -> str:
        return self.path.suffix

    def __str__(self) -> str:
        """The URI, from which `parse` makes the file again."""
        return f"{self.shown}?{self.query}" if self.query else self.shown

    @property
    def shown(self) -> str:
        """The URI without its settings, for messages."""
        return f"{SCHEME}{self.place}"

    @property
    def place(self) -> str:
        """Bucket and key, as Arrow names them."""
        return f"{self.bucket}/{self.key}"

    def __truediv__(self, name: str) -> S3File:
        home = self.key if not self.key or self.key.endswith("/") else f"{self.key}/"
        return replace(self, key=home + name, size=-1, mtime=0)

    def filesystem(self) -> fs.S3FileSystem:
        given = _settings(self.query)
        endpoint = (
            given.get("endpoint")
            or os.environ.get("AWS_ENDPOINT_URL_S3")
            or os.environ.get("AWS_ENDPOINT_URL")
        )
        region = given.get("region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        mark = hashlib.sha256(
            "\0".join(os.environ.get(name, "") for name in _CREDENTIALS).encode()
        ).hexdigest()
        try:
            return _filesystem(
                self.bucket, endpoint or "", region or "", given.get("anonymous") == "true", mark
            )
        except OSError as error:
            raise self.explained(error) from None

    def info(self) -> S3File | None:
        """The object with its size, or None if there is none of that key.

        Raises:
            BucketError: the bucket does not answer.
        """
        try:
            found = self.filesystem().get_file_info(self.place)
        except ValueError:  # an empty part in the key
            return None
        except OSError as error:
            raise self.explained(error) from None
        return self._listed(found) if found.type == fs.FileType.File else None

    def below(self, recursive: bool = True) -> Iterator[S3File]:
        """The objects below this folder; none if it is not there.

        Raises:
            BucketError: the bucket does not answer or refuses, or there is no such bucket.
        """
        folder = fs.FileSelector(self.place.rstrip("/"), recursive=recursive)
        try:
            found = self.filesystem().get_file_info(folder)
        except FileNotFoundError:
            return
        except OSError as error:
            raise self.explained(error) from None
        for entry in found:
            if entry.type == fs.FileType.File:
                yield self._listed(entry)

    def _listed(self, entry: fs.FileInfo) -> S3File:
        key = entry.path.partition("/")[2]
        return replace(self, key=key, size=entry.size, mtime=entry.mtime_ns or 0)

    def native(self) -> pa.NativeFile:
        """The object, opened for Arrow's own readers, whose errors `explained` puts into words.

        Raises:
            OSError: no such object, or one that cannot be read.
            BucketError: the bucket does not answer or refuses.
        """
        try:
            return self.filesystem().open_input_file(self.place)
        except OSError as error:
            raise self.explained(error) from None
        except ValueError:
            raise OSError(None, "its key has an empty part, which cannot be read") from None

    def open(self, mode: str = "r", buffering: int = BUFFER, **text: Any) -> IO[Any]:
        """Opens the object for reading, in bytes ("rb") or as text."""
        raw = io.BufferedReader(_Reading(self), buffering)
        return raw if mode == "rb" else io.TextIOWrapper(raw, **text)

    def read_bytes(self) -> bytes:
        with self.open("rb") as file:
            return file.read()

    def explained(self, error: OSError) -> Exception:
        """What an error of the SDK means, without its words: BucketError, or OSError where it is this file's alone."""
        if isinstance(error, _Told):
            return error
        said = str(error)
        codes = {(one or other).replace("_", "").upper() for one, other in _CODE.findall(said)}
        status = found.group(1) if (found := _STATUS.search(said)) else ""
        if "NOSUCHBUCKET" in codes:
            return BucketError(
                f"s3://{self.bucket}: no such bucket; look at its name, the region and the endpoint"
            )
        if isinstance(error, FileNotFoundError) or "NOSUCHKEY" in codes:
            return FileNotFoundError(errno.ENOENT, "no such file")
        if codes & REFUSED or status in ("401", "403"):
            return BucketError(f"{self.shown}: access denied; {_CREDENTIAL_ADVICE}")
        if status in ("301", "307"):
            return BucketError(
                f"s3://{self.bucket}: lies in another region; set AWS_REGION, or ?region=… in the path"
            )
        if codes & NETWORK or "curlCode" in said or status.startswith("5"):
            return BucketError(f"{self.shown}: {self._endpoint()} does not answer; {_ENDPOINT_ADVICE}")
        return _Told(None, f"the bucket answers {', '.join(sorted(codes)) or 'with an error'}")

    def _endpoint(self) -> str:
        given = _settings(self.query).get("endpoint")
        url = given or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        return urlsplit(url).netloc if url else "Amazon's S3"


_CREDENTIAL_ADVICE = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE) of one who may list and read the bucket; "
    'for a public one end the path with "?anonymous=true"'
)
_ENDPOINT_ADVICE = "look at the network and at AWS_ENDPOINT_URL (or ?endpoint=… in the path), then run again"


class _Told(OSError):
    """An error whose words are ours already."""


class _Reading(io.RawIOBase):
    """An object's bytes; a network that fails in the middle is a BucketError, never a short file."""

    def __init__(self, file: S3File) -> None:
        self._file, self._native = file, file.native()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        try:
            return self._native.readinto(into)
        except OSError as error:
            raise self._file.explained(error) from None

    def readall(self) -> bytes:
        try:
            return self._native.read()
        except OSError as error:
            raise self._file.explained(error) from None

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._native.seek(offset, whence)

    def tell(self) -> int:
        return self._native.tell()

    def close(self) -> None:
        if not self.closed:
            self._native.close()
        super().close()


def _settings(query: str) -> dict[str, str]:
    """The settings in a URI; a wrong one is named without its value, which may be a secret."""
    given = dict(parse_qsl(query, keep_blank_values=True))
    unknown = sorted(set(given) - set(SETTINGS))
    if unknown:
        raise SourceError(
            f"s3://…: unknown {', '.join(unknown)}; after the ? there may be {', '.join(SETTINGS)}"
        )
    if given.get("anonymous", "true") not in ("true", "false"):
        raise SourceError("s3://…: anonymous is true or false")
    if "endpoint" in given:
        _check_endpoint(given["endpoint"], "?endpoint=…")
    return given


def _check_endpoint(url: str, where: str) -> None:
    if not _ENDPOINT.fullmatch(url):
        raise SourceError(f"{where}: name a server, as in https://storage.example.com:9000, without a user")


@functools.lru_cache(maxsize=32)
def _filesystem(bucket: str, endpoint: str, region: str, anonymous: bool, mark: str) -> fs.S3FileSystem:
    """One client for equal settings; `mark` is a digest of the credentials, so that new ones are taken up."""
    if endpoint:
        _check_endpoint(endpoint, "AWS_ENDPOINT_URL")
    elif not region:
        region = fs.resolve_s3_region(bucket)
    return fs.S3FileSystem(
        anonymous=anonymous,
        region=region or "us-east-1",
        endpoint_override=endpoint or None,
        connect_timeout=CONNECT_S,
        request_timeout=REQUEST_S,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=TRIES),
    )
