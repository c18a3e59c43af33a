"""Buckets of Amazon S3, Google Cloud Storage and Azure, and of what speaks their protocols.

Sources of the web addresses: https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html,
https://cloud.google.com/storage/docs/request-endpoints, and "Naming and referencing containers, blobs, and
metadata" in the documentation of Azure Storage.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from hubcli.errors import HubcliError
from hubcli.providers.handle import BUCKETS, Handle
from hubcli.providers.provider import Provider, invalid_url, refusal, version_in
from hubcli.providers.web import WebHost
from hubcli.urls import without_secrets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hubcli.config.environment import NetworkConfig

__all__ = ["AzureContainer", "Bucket", "BucketAddress", "BucketHost", "GoogleBucket"]

_BUCKET = re.compile(r"[A-Za-z0-9$][A-Za-z0-9._-]{0,254}")
_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")
_NOUNS = {"s3": "bucket", "gs": "bucket", "az": "container"}
# Segments that no store here can name: object_store, on which obstore is built, splits keys at slashes.
_BAD_SEGMENTS = ("", ".", "..")


class BucketAddress(NamedTuple):
    """`SCHEME://BUCKET/KEY`; the key is empty for the bucket as a whole, and `account` is Azure's.

    Without an account in the address, Azure's is the one that the environment names.
    """

    scheme: str
    bucket: str
    key: str = ""
    account: str | None = None

    @classmethod
    def parse(cls, text: str) -> BucketAddress:
        """The address, without secrets and slashes at its end. Raises HandleError."""
        try:
            parts = urlsplit(without_secrets(text))
            queries = parse_qs(parts.query, keep_blank_values=True)
            is_altered = urlsplit(text).path != parts.path
        except ValueError as error:
            raise invalid_url(text) from error
        scheme = parts.scheme.lower()
        noun = _NOUNS.get(scheme, "bucket")
        if scheme not in BUCKETS or not _BUCKET.fullmatch(parts.netloc):
            raise refusal(text, f"is missing the {noun}", f"Use {scheme or 's3'}://{noun.upper()}/path.")
        # A URL's parser drops line breaks, and ends a path at ? and #: it would name another object.
        is_altered = is_altered or any(mark in ";#" or not mark.isprintable() for mark in text)
        if is_altered or queries.keys() - ({"account"} if scheme == "az" else set()):
            what = "has a key with ';', '?', '#' or a control character"
            raise refusal(text, what, "Rename the object.")
        key = parts.path.strip("/")
        if key and any(segment in _BAD_SEGMENTS for segment in key.split("/")):
            raise refusal(text, "has a key with an empty segment, '.' or '..'", "Rename the object.")
        account = queries.get("account", [None])[0] if scheme == "az" else None
        if account is not None and not _ACCOUNT.fullmatch(account):
            raise refusal(text, "has an invalid storage account", "Use ?account=NAME.")
        return cls(scheme, parts.netloc, key, account)

    @classmethod
    def of_url(cls, url: str) -> BucketAddress | None:
        """The object that a web address of the clouds' own services names; None for other addresses."""
        try:
            parts = urlsplit(url)
        except ValueError:
            return None
        host, path = parts.hostname or "", unquote(parts.path).strip("/")
        for pattern, scheme in _WEB_HOSTS:
            found = pattern.fullmatch(host)
            if found is None or parts.query:
                continue
            named = found.groupdict()
            first, _, rest = path.partition("/")
            bucket, key = (named["bucket"], path) if named.get("bucket") else (first, rest)
            is_valid = (
                _BUCKET.fullmatch(bucket)
                and not any(part in _BAD_SEGMENTS for part in key.split("/"))
                # The address of such a key would not be read as it is written.
                and not any(mark in ";?#" or not mark.isprintable() for mark in key)
            )
            return cls(scheme, bucket, key, named.get("account")) if is_valid else None
        return None

    def __str__(self) -> str:
        place = f"{self.scheme}://{self.bucket}"
        account = f"?account={self.account}" if self.account else ""
        return f"{place}/{self.key}{account}" if self.key else f"{place}{account}"

    @property
    def container(self) -> BucketAddress:
        """The bucket as a whole."""
        return self._replace(key="")

    def below(self, key: str) -> BucketAddress:
        """The object of this key below the address."""
        return self._replace(key="/".join(filter(None, (self.key, key))))


_WEB_HOSTS = tuple(
    (re.compile(pattern), scheme)
    for pattern, scheme in (
        (r"(?P<bucket>[a-z0-9.-]+)\.s3(?:[.-][a-z0-9-]+)?\.amazonaws\.com", "s3"),
        (r"s3(?:[.-][a-z0-9-]+)?\.amazonaws\.com", "s3"),
        (r"(?P<bucket>[a-z0-9._-]+)\.storage\.googleapis\.com", "gs"),
        (r"storage\.googleapis\.com", "gs"),
        (r"(?P<account>[a-z0-9]{3,24})\.blob\.core\.windows\.net", "az"),
    )
)


class Bucket(Provider):
    """`s3://bucket/path`: an archive, or a prefix with an unpacked SavedModel below it."""

    name = "s3"
    title = "the bucket"

    def parse(self, text: str) -> Handle:
        """The handle of an object or a prefix. Raises HandleError."""
        address = BucketAddress.parse(text)
        if not address.key:
            raise refusal(text, "is a bucket, not an object in it", f"Use {address}/path/model.tar.gz.")
        return Handle(text, self, str(address), version_in([address.bucket, *address.key.split("/")]))

    def is_immutable(self, handle: Handle) -> bool:
        """Never: anyone with write access to the bucket may replace it."""
        return False

    def _name_path(self, handle: Handle) -> str:
        return urlsplit(handle.canonical).path


class GoogleBucket(Bucket):
    """`gs://bucket/path`, which TensorFlow can read in place."""

    name = "gcs"
    is_read_by_tensorflow = True


class AzureContainer(Bucket):
    """`az://container/path`, in the account that `?account=` or the environment names."""

    name = "azure"


class BucketHost(WebHost):
    """Web addresses of the clouds' storage: read as those of any host, and if denied, with an account.

    A public or signed address needs neither obstore nor an account.
    """

    def private_address(self, handle: Handle, access: NetworkConfig) -> str | None:
        """The object's address in its bucket, which the user's account may read.

        None for a signed address, without obstore, without the user's own credentials, and if the
        environment names a service other than the cloud's own.
        """
        found = BucketAddress.of_url(handle.text)
        if found is None or not found.key or find_spec("obstore") is None:
            return None
        # Imported here: few downloads are denied.
        from hubcli.config.buckets import bucket_options

        try:
            options = bucket_options(access.buckets, found.scheme, found.account)
        except HubcliError:  # The error of the web address says more.
            return None
        return str(found) if options.has_account and not options.is_other_service else None
