"""What `export --layout serving` writes into a bucket, TensorFlow loads from there.

Two servers stand in for Google's: hubcli writes by the XML API, and TensorFlow reads by the JSON API. The
second has exactly the objects that the first was given.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.bucket_servers import BucketServer
from tests.buckets import running_bucket
from tests.forkserver import run_python
from tests.installed import require_installed

require_installed("tensorflow", "obstore")
pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

_LOAD = """
import sys, tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
(output,) = model.signatures["serving_default"](tf.constant([[21.0]])).values()
print(float(output[0, 0]))
"""


def test_tensorflow_loads_an_export_from_the_bucket(gcs_server: BucketServer, tmp_path: Path) -> None:
    import obstore

    address = gcs_server.new_bucket()
    environment = {**os.environ, **gcs_server.variables, "HUBCLI_CACHE_DIR": str(tmp_path / "cache")}
    words = [
        "export",
        "example://mul/1",
        f"{address}/",
        "--layout",
        "serving",
        "--name",
        "mul",
        "--version",
        "1",
    ]
    exported = run_python(["-m", "hubcli", *words], env=environment, check=True)
    assert exported.stdout.strip() == f"{address}/mul/1"
    store = obstore.store.from_url(address, **gcs_server.store_options())
    objects = {
        item["path"]: bytes(obstore.get(store, item["path"]).bytes())
        for page in obstore.list(store)
        for item in page
    }
    with running_bucket(objects, tmp_path) as bucket:
        loaded = run_python(
            ["-c", _LOAD, f"{address}/mul/1"], env={**os.environ, **bucket.variables}, with_tensorflow=True
        )
    assert loaded.stdout.split() == ["42.0"], loaded.stderr
