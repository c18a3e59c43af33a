"""Kinds of hosts, one file each: how handles are spelled, where bytes are, what versions and errors mean.

Each kind has one line below, with the texts that it claims; another package adds its own by `register`.
Its file is imported when such a text is parsed: most commands need one kind of host, or none.
"""

from __future__ import annotations

from hubcli.providers.handle import (
    BUCKETS,
    PATH,
    provider_of,
    providers,
    register,
    registered,
    scheme_of,
    unregister,
)

__all__ = ["BUCKETS", "PATH", "provider_of", "providers", "register", "registered", "scheme_of", "unregister"]

register("tfhub:TfHub", "//tfhub.dev")
register("kaggle:Kaggle", "//www.kaggle.com", "//kaggle.com", "*/*/*/*", "*/*/*/*/*")
register("tfhub:TfHubChina", "//hub.tensorflow.google.cn")
register("web:WebHost", "https://", "http://")
register("bucket:Bucket", "s3://")
register("bucket:GoogleBucket", "gs://")
register("bucket:AzureContainer", "az://")
register(
    "bucket:BucketHost",
    "//storage.googleapis.com",
    "//*.googleapis.com",
    "//*.amazonaws.com",
    "//*.windows.net",
)
register("local:LocalDirectory", PATH, "file://")
register("example:Example", "example://")
