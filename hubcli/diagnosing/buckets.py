"""Access to buckets: whether obstore is installed, and where the credentials for each cloud are.

Nothing is sent: a role of a machine or a pod is named, and not tried.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec

from hubcli.config.buckets import bucket_options
from hubcli.diagnosing.context import Check, DiagnosisContext, Section, Status
from hubcli.errors import HubcliError
from hubcli.providers import BUCKETS

__all__ = ["check_buckets"]

_check = partial(Check.of, Section.CREDENTIALS)
# Variables by which a cloud counts as one that the user has set up.
_PREFIXES = {
    "s3": ("AWS_ACCESS", "AWS_PROFILE", "AWS_ROLE", "AWS_ENDPOINT", "AWS_CONTAINER"),
    "gs": ("GOOGLE_", "STORAGE_EMULATOR_HOST"),
    "az": ("AZURE_",),
}


def check_buckets(context: DiagnosisContext) -> Iterator[Check]:
    """Where the credentials of each cloud are, and what keeps those that are set up from being used.

    Reports nothing to users of no cloud.
    """
    config = context.settings.access.buckets
    buckets = [
        scheme for scheme in BUCKETS if any(name.startswith(_PREFIXES[scheme]) for name in config.variables)
    ]
    if find_spec("obstore") is None:
        if buckets:
            message = "obstore is not installed: s3://, gs:// and az:// cannot be used"
            yield _check("buckets", Status.WARNING, message, None, "pip install 'hubcli[buckets]'")
        return
    places: dict[str, str | None] = {}
    for scheme in BUCKETS:
        try:
            found = bucket_options(config, scheme)
        except HubcliError as error:  # noqa: PERF203 - each cloud by itself
            places[scheme] = None
            if scheme in buckets:
                yield _check(f"buckets-{scheme}", Status.WARNING, error.message, scheme, error.hint)
        else:
            places[scheme] = found.place if found.has_account or scheme in buckets else None
    if config.anonymous:
        message = "none are sent: HUBCLI_BUCKET_ANONYMOUS or bucket-anonymous is set"
        yield _check("buckets", Status.INFO, message, places)
    elif sources := [f"{scheme}:// by {place}" for scheme, place in places.items() if place is not None]:
        yield _check("buckets", Status.OK, "; ".join(sources), places)
