"""Buckets of Google Cloud Storage: known by name and put into the cache from files, but not read yet."""

from __future__ import annotations

from urllib.parse import urlsplit

from hubcli.errors import HandleError
from hubcli.providers.handle import Handle
from hubcli.providers.provider import Provider, invalid_url, refusal, version_in
from hubcli.urls import without_secrets

__all__ = ["Bucket"]


class Bucket(Provider):
    """`gs://bucket/path`: an archive or a directory, which TensorFlow reads where it lies."""

    name = "gcs"
    title = "the bucket"
    is_remote = False  # Until it is read: nothing is sent.
    is_read_by_tensorflow = True

    def parse(self, text: str) -> Handle:
        """The handle of an object. Raises HandleError."""
        try:
            parts = urlsplit(without_secrets(text))
        except ValueError as error:
            raise invalid_url(text) from error
        bucket, name = parts.netloc, parts.path.lstrip("/")
        if not bucket or not name.strip("/"):
            raise refusal(text, "names no object in a bucket", "Use gs://bucket/path/model.tar.gz.")
        return Handle(text, self, f"gs://{bucket}/{name.rstrip('/')}", version_in(name.split("/")))

    def _name_path(self, handle: Handle) -> str:
        return urlsplit(handle.canonical).path

    def unreadable(self, handle: Handle) -> HandleError | None:
        """None is, yet."""
        return HandleError(
            f"{handle} is in a bucket, which is not supported yet",
            hint=f"Copy it to a file first, then: hubcli fetch {handle} --from FILE",
        )
