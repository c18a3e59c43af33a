"""TensorFlow's C library, loaded when this is imported: by the fork server of the runners that use it."""

from __future__ import annotations

from hubcli.tf.c_api import CApiLibrary
from hubcli.tf.run_child import library_in, package_folder
from hubcli.tf.run_server import main as main  # What the forked processes call.

__all__ = ["PATH"]

_folder = package_folder("tensorflow")
PATH = None if _folder is None else library_in(_folder)
if PATH is not None:
    CApiLibrary(PATH)
