"""An address in a bucket, and its client: s3://bucket/key?endpoint=…&region=…

Keys are taken as they are written. The endpoint and the region may stand in the URI; otherwise they come, like the
credentials, from the usual variables (AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID …) or profile. What an SDK says of
an error is never shown: it may hold parts of a credential. Requests have time limits and few tries.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Self
from urllib.parse import parse_qsl, urlsplit

from pyarrow import fs

SCHEME = "s3://"
SETTINGS = ("endpoint", "region", "anonymous")
CONNECT_S, REQUEST_S, TRIES = 5, 30, 3
_QUERY = re.compile(r"\?([a-z_]+=[^?]*)$")
_ENDPOINT = re.compile(r"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?/?")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_CODE = re.compile(r"AWS Error ([A-Z_]+)|ExceptionName: (\w+)|<Code>(\w+)</Code>")
_STATUS = re.compile(r"HTTP status (\d{3})|\b([345]\d{2}) [A-Z][a-z]+")
_SILENT = re.compile(r"curlCode|error sending request|operation timed out|client error \(Connect\)")
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


class AddressError(ValueError):
    """A part of an address is wrong; the message repeats nothing that could be secret."""


@dataclass(frozen=True)
class Address:
    """A bucket, a key in it, and the settings to reach them."""

    bucket: str
    key: str
    query: str = ""

    @classmethod
    def parse(cls, uri: str) -> Self:
        """The address of a URI.

        Raises:
            AddressError: a part of it is wrong.
        """
        found = _QUERY.search(uri)
        rest = uri[len(SCHEME) : found.start() if found else None]
        bucket, _, key = rest.partition("/")
        if "@" in bucket or ":" in bucket:
            raise AddressError(
                "s3://…: no credentials in a path; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
        if not _BUCKET.fullmatch(bucket):
            raise AddressError("s3://…: name a bucket, as in s3://bucket/folder/*.tar")
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

    def __str__(self) -> str:
        """The URI, from which `parse` makes the address again."""
        return f"{self.shown}?{self.query}" if self.query else self.shown

    @property
    def shown(self) -> str:
        """The URI without its settings, for messages."""
        return f"{SCHEME}{self.place}"

    @property
    def place(self) -> str:
        """Bucket and key, as Arrow names them."""
        return f"{self.bucket}/{self.key}"

    def __truediv__(self, name: str) -> Self:
        home = self.key if not self.key or self.key.endswith("/") else f"{self.key}/"
        return replace(self, key=home + name)

    @property
    def endpoint(self) -> str:
        """URL of the server; "" is Amazon's."""
        given = _settings(self.query).get("endpoint")
        url = given or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
        if url:
            _check_endpoint(url, "AWS_ENDPOINT_URL")
        return url

    @property
    def region(self) -> str:
        """The region that is stated; "" is none."""
        given = _settings(self.query).get("region")
        return given or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or ""

    @property
    def anonymous(self) -> bool:
        return _settings(self.query).get("anonymous") == "true"

    def client(self) -> fs.S3FileSystem:
        """Arrow's client of the bucket's server, with the credentials that are in the environment now.

        Raises:
            OSError: the bucket's region cannot be asked for.
        """
        credentials = "\0".join(os.environ.get(name, "") for name in _CREDENTIALS)
        mark = hashlib.sha256(credentials.encode()).hexdigest()
        return _client(self.bucket, self.endpoint, self.region, self.anonymous, mark)

    def refusal(self, error: BaseException) -> str | None:
        """What an error of an SDK says about the bucket, in words without the SDK's own; None if it does not concern the
        bucket as a whole, but one object."""
        names, status, silent = _said(error)
        if "NOSUCHBUCKET" in names:
            return f"s3://{self.bucket}: no such bucket; look at its name, the region and the endpoint"
        if absent(error):
            return None
        if names & REFUSED or status in ("401", "403"):
            return f"{self.shown}: access denied; {_CREDENTIAL_ADVICE}"
        if status in ("301", "307"):
            return f"s3://{self.bucket}: lies in another region; set AWS_REGION, or ?region=… in the path"
        if names & NETWORK or silent or status.startswith("5"):
            server = urlsplit(self.endpoint).netloc if self.endpoint else "Amazon's S3"
            return f"{self.shown}: {server} does not answer; {_ENDPOINT_ADVICE}"
        return None


def absent(error: BaseException) -> bool:
    """Whether an error means that there is no such object."""
    return isinstance(error, FileNotFoundError) or "NOSUCHKEY" in _said(error)[0]


def answer(error: BaseException) -> str:
    """What a bucket answered, by the names of errors alone."""
    names, status, _ = _said(error)
    return f"the bucket answers {', '.join(sorted(names)) or status or 'with an error'}"


def _said(error: BaseException) -> tuple[set[str], str, bool]:
    """The names of errors, the HTTP status, and whether nobody answered, in what an SDK says."""
    said = str(error)
    names = {next(filter(None, one)).replace("_", "").upper() for one in _CODE.findall(said)}
    status = next(filter(None, found.groups())) if (found := _STATUS.search(said)) else ""
    return names, status, bool(_SILENT.search(said))


_CREDENTIAL_ADVICE = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE) of one who may list and read the bucket; "
    'for a public one end the path with "?anonymous=true"'
)
_ENDPOINT_ADVICE = "look at the network and at AWS_ENDPOINT_URL (or ?endpoint=… in the path), then run again"


def _settings(query: str) -> dict[str, str]:
    """The settings in a URI; a wrong one is named without its value, which may be a secret."""
    given = dict(parse_qsl(query, keep_blank_values=True))
    unknown = sorted(set(given) - set(SETTINGS))
    if unknown:
        raise AddressError(
            f"s3://…: unknown {', '.join(unknown)}; after the ? there may be {', '.join(SETTINGS)}"
        )
    if given.get("anonymous", "true") not in ("true", "false"):
        raise AddressError("s3://…: anonymous is true or false")
    if "endpoint" in given:
        _check_endpoint(given["endpoint"], "?endpoint=…")
    return given


def _check_endpoint(url: str, where: str) -> None:
    if not _ENDPOINT.fullmatch(url):
        raise AddressError(f"{where}: name a server, as in https://storage.example.com:9000, without a user")


@functools.lru_cache(maxsize=32)
def _client(bucket: str, endpoint: str, region: str, anonymous: bool, mark: str) -> fs.S3FileSystem:
    """One client for equal settings; `mark` is a digest of the credentials, so that new ones are taken up."""
    if not endpoint and not region:
        region = fs.resolve_s3_region(bucket)
    return fs.S3FileSystem(
        anonymous=anonymous,
        region=region or "us-east-1",
        endpoint_override=endpoint or None,
        connect_timeout=CONNECT_S,
        request_timeout=REQUEST_S,
        allow_delayed_open=True,  # a small file goes up in one request, not three
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=TRIES),
    )
