"""Credentials and endpoints of buckets, as the clouds' own tools find them; read when a bucket is used.

Amazon: https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html (variables, profiles,
web identity, container, instance metadata). Google: https://cloud.google.com/docs/authentication/
application-default-credentials. Azure: the variables of the Azure CLI and of azure-identity.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from hubcli.config.aws_profile import MAX_FILE_BYTES, AwsProfile
from hubcli.config.environment import BucketConfig, absolute, in_home
from hubcli.errors import AuthenticationError, UsageError
from hubcli.regular_file import read_regular
from hubcli.urls import remember_secret, without_secrets

__all__ = [
    "BucketOptions",
    "amazon_endpoint",
    "bucket_options",
    "hidden_variables",
    "is_sendable",
    "unchanged_environment",
]

_SECRETS = (
    "secret_access_key",
    "session_token",
    "service_account_key",
    "account_key",
    "sas_key",
    "client_secret",
)
_IN_HEADERS = ("access_key_id", "secret_access_key", "session_token")
_NO_CREDENTIALS = "none"
_INSTANCE, _METADATA, _MANAGED = "instance metadata", "the metadata server", "managed identity"
_OF_THE_MACHINE = (_INSTANCE, _METADATA, _MANAGED)


# Variables that obstore would read by itself, beside the options or in their place, even of another account.
_HIDDEN = {
    "s3": ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SKIP_SIGNATURE"),
    "gs": (
        "GOOGLE_BEARER_TOKEN",
        "GOOGLE_SERVICE_ACCOUNT",
        "GOOGLE_SERVICE_ACCOUNT_PATH",
        "GOOGLE_SERVICE_ACCOUNT_KEY",
        "GOOGLE_SKIP_SIGNATURE",
    ),
    "az": (
        "AZURE_CLIENT_ID",
        "AZURE_CLIENT_SECRET",
        "AZURE_FEDERATED_TOKEN_FILE",
        "AZURE_SKIP_SIGNATURE",
        "AZURE_STORAGE_ACCESS_KEY",
        "AZURE_STORAGE_ACCOUNT_KEY",
        "AZURE_STORAGE_CLIENT_ID",
        "AZURE_STORAGE_CLIENT_SECRET",
        "AZURE_STORAGE_MASTER_KEY",
        "AZURE_STORAGE_SAS_KEY",
        "AZURE_STORAGE_SAS_TOKEN",
        "AZURE_STORAGE_TOKEN",
        "AZURE_STORAGE_USE_EMULATOR",
        "AZURE_USE_AZURE_CLI",
    ),
}
_environment_lock = threading.Lock()


@contextmanager
def hidden_variables(scheme: str) -> Iterator[None]:
    """Hides the credentials in the environment from obstore, which reads it when a store is opened.

    It would send a session token with the keys of a profile, and one account's signature to another's host.
    """
    with _environment_lock:
        hidden = {name: os.environ.pop(name) for name in _HIDDEN[scheme] if name in os.environ}
        try:
            yield
        finally:
            os.environ.update(hidden)


@contextmanager
def unchanged_environment() -> Iterator[None]:
    """While the context lasts, `hidden_variables` hides nothing on another thread."""
    with _environment_lock:
        yield


@dataclass(frozen=True, slots=True)
class BucketOptions:
    """How a store is opened: obstore's options, the URL of its service, headers of each request.

    `place` says where the credentials were found. With a `profile`, botocore gets them from that profile's
    program or service. Never print the values.
    """

    config: Mapping[str, str | bool] = field(repr=False)
    endpoint: str
    place: str
    headers: Mapping[str, str] = field(default_factory=dict)
    ca_file: Path | None = None
    profile: str | None = None

    @property
    def has_account(self) -> bool:
        """Whether the user's own credentials were found, and not those of the machine."""
        return self.place not in (_NO_CREDENTIALS, *_OF_THE_MACHINE)

    @property
    def is_other_service(self) -> bool:
        """Whether the environment names a service other than the cloud's own."""
        return not self.endpoint.endswith(
            (".amazonaws.com", ".amazonaws.com.cn", "//storage.googleapis.com")
        ) and ("account_name" not in self.config)

    @property
    def is_signed_with_time(self) -> bool:
        """Whether each request is signed with the time, so that the service refuses a wrong clock.

        S3 and Azure's keys allow 15 minutes, Google's tokens for a service account an hour. Other tokens
        and signed addresses don't depend on the machine's clock.
        """
        if "skip_signature" in self.config:
            return False
        if "account_name" in self.config:
            return "account_key" in self.config
        return "region" in self.config or "service_account" in self.config

    @property
    def is_plain_http(self) -> bool:
        """Whether the user named an endpoint without TLS."""
        return self.endpoint.lower().startswith("http://")


def bucket_options(config: BucketConfig, scheme: str, account: str | None = None) -> BucketOptions:
    """How buckets of the scheme (`s3`, `gs`, `az`) are opened; `account` is Azure's, where it is known.

    Raises AuthenticationError if credentials are there that can't be used, UsageError for an endpoint
    that isn't the URL of a service.
    """
    search = _CredentialSearch(config)
    found = search.azure(account) if scheme == "az" else {"s3": search.amazon, "gs": search.google}[scheme]()
    for name, value in found.config.items():
        if isinstance(value, str) and name in _SECRETS:
            remember_secret(value)
        if name in _IN_HEADERS and not is_sendable(value):
            raise AuthenticationError(
                f"The credentials in {found.place} have an invalid character",
                hint="Check them for a line break at the end.",
            )
    if not is_sendable(found.config.get("region", "")):
        raise UsageError("The AWS region has an invalid character", hint="Check AWS_REGION.")
    return found


def is_sendable(value: object) -> bool:
    """Whether it can be the value of a header: obstore panics otherwise."""
    return isinstance(value, str) and value.isascii() and (value.isprintable() or not value)


class _CredentialSearch:
    """Looks for credentials in the variables, and in the files that they name."""

    def __init__(self, config: BucketConfig) -> None:
        self.variables = config.variables
        self.anonymous = config.anonymous
        self.requester_pays = config.requester_pays

    def _get(self, *names: str) -> str | None:
        return next((self.variables[name] for name in names if name in self.variables), None)

    # --- Amazon S3, and what speaks its protocol

    def amazon(self) -> BucketOptions:
        profile = AwsProfile.read(self.variables)
        region = self._get("AWS_REGION", "AWS_DEFAULT_REGION") or profile.get("region") or "us-east-1"
        named = self._get("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL") or profile.get("endpoint_url")
        endpoint = _endpoint(named, "AWS_ENDPOINT_URL") if named else amazon_endpoint(region)
        config: dict[str, str | bool] = {"region": region, "endpoint": endpoint}
        if self.requester_pays:
            config["request_payer"] = True
        bundle = self._get("AWS_CA_BUNDLE")
        ca_file = absolute(bundle, "AWS_CA_BUNDLE") if bundle else None
        if self.anonymous:
            config["skip_signature"] = True
            return BucketOptions(config, endpoint, _NO_CREDENTIALS, ca_file=ca_file)
        credentials, place = self._s3_keys(profile)
        by_botocore = profile.name if place == profile.place and not credentials else None
        return BucketOptions({**config, **credentials}, endpoint, place, ca_file=ca_file, profile=by_botocore)

    def _s3_keys(self, profile: AwsProfile) -> tuple[dict[str, str | bool], str]:
        """The credentials, and where they were found: in the order in which the AWS CLI looks."""
        key, secret = self._get("AWS_ACCESS_KEY_ID"), self._get("AWS_SECRET_ACCESS_KEY")
        if key and secret:
            return _s3_static(key, secret, self._get("AWS_SESSION_TOKEN")), "AWS_ACCESS_KEY_ID"
        token_file, role = self._get("AWS_WEB_IDENTITY_TOKEN_FILE"), self._get("AWS_ROLE_ARN")
        if token_file and role:
            return {"web_identity_token_file": token_file, "role_arn": role}, "AWS_WEB_IDENTITY_TOKEN_FILE"
        key, secret = profile.get("aws_access_key_id"), profile.get("aws_secret_access_key")
        if key and secret and not profile.has_role:
            return _s3_static(key, secret, profile.get("aws_session_token")), profile.place
        token_file, role = profile.get("web_identity_token_file"), profile.get("role_arn")
        if token_file and role:
            return {"web_identity_token_file": token_file, "role_arn": role}, profile.place
        if profile.needs_botocore():
            return {}, profile.place
        for name in ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"):
            if name in self.variables:  # obstore reads these, with the token beside them.
                return {}, name
        if (self._get("AWS_EC2_METADATA_DISABLED") or "").lower() == "true":
            raise AuthenticationError(
                "No AWS credentials found: no variables, no profile, and AWS_EC2_METADATA_DISABLED is set",
                hint="Run: aws configure, or use --anonymous for a public bucket",
            )
        return {}, _INSTANCE

    # --- Google Cloud Storage

    def google(self) -> BucketOptions:
        emulator = self._get("STORAGE_EMULATOR_HOST")
        if emulator:
            url = emulator if "://" in emulator else f"http://{emulator}"
            endpoint = _endpoint(url, "STORAGE_EMULATOR_HOST")
            # Writes request a token even where nothing is signed, unless the key has `disable_oauth`.
            key = {"client_email": "", "private_key": "", "private_key_id": ""}
            account = json.dumps({"gcs_base_url": endpoint, "disable_oauth": True, **key})
            return BucketOptions({"service_account_key": account}, endpoint, "STORAGE_EMULATOR_HOST")
        endpoint = "https://storage.googleapis.com"
        file, place = self._google_file()
        headers = {}
        if self.requester_pays:
            headers["x-goog-user-project"] = self._google_project(file)
        if self.anonymous:
            return BucketOptions({"skip_signature": True}, endpoint, _NO_CREDENTIALS, headers)
        if file is None:
            return BucketOptions({}, endpoint, _METADATA, headers)
        kind = _json_of(file, place).get("type")
        if kind == "service_account":
            return BucketOptions({"service_account": str(file)}, endpoint, place, headers)
        if kind != "authorized_user":
            raise AuthenticationError(
                f"Unsupported credentials type '{str(kind)[:40]}' in {place}",
                hint="Use a service account, or run: gcloud auth application-default login",
            )
        return BucketOptions({"application_credentials": str(file)}, endpoint, place, headers)

    def _google_file(self) -> tuple[Path | None, str]:
        """The file of the application default credentials, and its name in messages."""
        named = self._get("GOOGLE_APPLICATION_CREDENTIALS")
        if named:
            return absolute(named, "GOOGLE_APPLICATION_CREDENTIALS"), "GOOGLE_APPLICATION_CREDENTIALS"
        folder = self._get("CLOUDSDK_CONFIG")
        root = absolute(folder, "CLOUDSDK_CONFIG") if folder else in_home(".config/gcloud")
        file = root / "application_default_credentials.json" if root else None
        return (file, str(file)) if file is not None and file.is_file() else (None, "")

    def _google_project(self, file: Path | None) -> str:
        project = self._get("GOOGLE_CLOUD_QUOTA_PROJECT", "GOOGLE_CLOUD_PROJECT", "CLOUDSDK_CORE_PROJECT")
        found = project or (_json_of(file, str(file)).get("quota_project_id") if file else None)
        if not isinstance(found, str) or not found.isascii() or not found.isprintable():
            raise UsageError(
                "--requester-pays requires a project to bill, and none is set",
                hint="Set GOOGLE_CLOUD_PROJECT.",
            )
        return found

    # --- Azure

    def azure(self, account: str | None) -> BucketOptions:
        parts = _connection_string(self._get("AZURE_STORAGE_CONNECTION_STRING") or "")
        name = self._get("AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_ACCOUNT_NAME") or parts.get("accountname")
        is_named_here = account is None or account == name
        account = account or name
        if not account:
            raise AuthenticationError(
                "No Azure storage account is set", hint="Set AZURE_STORAGE_ACCOUNT, or use the https:// URL."
            )
        named = self._get("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT") or parts.get("blobendpoint")
        if named and is_named_here:
            endpoint = _endpoint(named, "AZURE_STORAGE_ENDPOINT")
        else:
            endpoint = f"https://{account}.blob.{parts.get('endpointsuffix', 'core.windows.net')}"
        config: dict[str, str | bool] = {"account_name": account, "endpoint": endpoint}
        if self.anonymous:
            return BucketOptions({**config, "skip_signature": True}, endpoint, _NO_CREDENTIALS)
        # The key of one account is not valid for another one.
        keys, place = self._az_keys(parts) if is_named_here else ({}, "")
        if not keys:
            keys, place = self._az_identity()
        return BucketOptions({**config, **keys}, endpoint, place)

    def _az_keys(self, parts: Mapping[str, str]) -> tuple[dict[str, str | bool], str]:
        for name in ("AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_ACCESS_KEY"):
            if key := self._get(name):
                return {"account_key": key}, name
        for name in ("AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_SAS_KEY"):
            if signature := self._get(name):
                return {"sas_key": signature.lstrip("?")}, name
        if "accountkey" in parts:
            return {"account_key": parts["accountkey"]}, "AZURE_STORAGE_CONNECTION_STRING"
        if "sharedaccesssignature" in parts:
            signature = parts["sharedaccesssignature"].lstrip("?")
            return {"sas_key": signature}, "AZURE_STORAGE_CONNECTION_STRING"
        return {}, ""

    def _az_identity(self) -> tuple[dict[str, str | bool], str]:
        """As azure-identity's DefaultAzureCredential: variables, workload, managed identity, Azure CLI."""
        client, tenant = self._get("AZURE_CLIENT_ID"), self._get("AZURE_TENANT_ID")
        secret, token_file = self._get("AZURE_CLIENT_SECRET"), self._get("AZURE_FEDERATED_TOKEN_FILE")
        identity: dict[str, str | bool] = {"client_id": client} if client else {}
        if client and tenant and secret:
            return {**identity, "tenant_id": tenant, "client_secret": secret}, "AZURE_CLIENT_SECRET"
        if client and tenant and token_file:
            federated = {**identity, "tenant_id": tenant, "federated_token_file": token_file}
            return federated, "AZURE_FEDERATED_TOKEN_FILE"
        service = self._get("IDENTITY_ENDPOINT", "MSI_ENDPOINT")
        if service:
            return {"msi_endpoint": service, **identity}, _MANAGED
        folder = self._get("AZURE_CONFIG_DIR")
        cli = absolute(folder, "AZURE_CONFIG_DIR") if folder else in_home(".azure")
        if cli is not None and (cli / "azureProfile.json").is_file():
            return {"use_azure_cli": True}, "the Azure CLI"
        return identity, _MANAGED


def amazon_endpoint(region: str) -> str:
    """The service of a region; those in China have a domain of their own."""
    return f"https://s3.{region}.amazonaws.com{'.cn' if region.startswith('cn-') else ''}"


def _s3_static(key: str, secret: str, token: str | None) -> dict[str, str | bool]:
    found: dict[str, str | bool] = {"access_key_id": key, "secret_access_key": secret}
    return {**found, "session_token": token} if token else found


def _json_of(path: Path, place: str) -> dict[str, object]:
    try:
        found = json.loads(read_regular(path, MAX_FILE_BYTES))
    except (OSError, ValueError, RecursionError):
        # The error may quote a secret.
        raise AuthenticationError(
            f"Cannot read the credentials in {place}", hint="Run: gcloud auth application-default login"
        ) from None
    return found if isinstance(found, dict) else {}


def _connection_string(text: str) -> dict[str, str]:
    """Its parts by their names in lower case, such as `AccountName=…;AccountKey=…`."""
    pairs = (part.partition("=") for part in text.split(";"))
    return {name.strip().lower(): value.strip() for name, _, value in pairs if value.strip()}


def _endpoint(text: str, source: str) -> str:
    """The URL of a service without a slash at its end. Raises UsageError."""
    host = text.partition("://")[2].partition("/")[0]
    if not text.lower().startswith(("https://", "http://")) or not host or "@" in host or "?" in text:
        raise UsageError(
            f"{source} is '{without_secrets(text)}', not the URL of a service",
            hint="Use a URL such as https://s3.eu-west-1.amazonaws.com.",
        )
    return text.rstrip("/")
