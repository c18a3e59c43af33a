"""Credentials and endpoints of buckets, found where the clouds' own tools find them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hubcli.config.buckets import BucketOptions, bucket_options
from hubcli.config.environment import BucketConfig
from hubcli.errors import AuthenticationError, HubcliError, UsageError
from hubcli.urls import redacted
from tests.cases import each_of

KEYS = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "s3cr3t-of-variables"}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def options(
    scheme: str, variables: dict[str, str], account: str | None = None, **flags: bool
) -> BucketOptions:
    return bucket_options(BucketConfig.read(variables, **flags), scheme, account)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


# --- Amazon


@pytest.mark.parametrize(
    ("region", "endpoint"),
    [
        ("eu-west-1", "https://s3.eu-west-1.amazonaws.com"),
        ("cn-north-1", "https://s3.cn-north-1.amazonaws.com.cn"),
    ],
)
def test_a_region_has_an_endpoint(region: str, endpoint: str, home: Path) -> None:
    found = options("s3", {**KEYS, "AWS_REGION": region})
    assert (found.endpoint, found.is_other_service) == (endpoint, False)


def test_variables_come_before_profiles(home: Path) -> None:
    write(
        home / ".aws/credentials",
        "[default]\naws_access_key_id = FILE\naws_secret_access_key = s3cr3t-file\n",
    )

    by_variables = options("s3", {**KEYS, "AWS_SESSION_TOKEN": "t0ken-of-variables"})
    by_file = options("s3", {})

    assert by_variables.place == "AWS_ACCESS_KEY_ID"
    assert by_variables.config["session_token"] == "t0ken-of-variables"
    assert by_file.config["access_key_id"] == "FILE"
    assert by_file.place == "the profile default"
    assert by_variables.has_account
    assert by_file.has_account


def test_a_home_that_is_no_directory_holds_no_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/dev/null")  # As some systems have it for accounts of services.
    assert options("s3", KEYS).place == "AWS_ACCESS_KEY_ID"
    assert options("s3", {}).config.get("access_key_id") is None


def test_a_profile_is_made_of_both_files(home: Path) -> None:
    write(home / ".aws/credentials", "[work]\naws_access_key_id = W\naws_secret_access_key = s3cr3t%work\n")
    write(
        home / ".aws/config",
        "[default]\nregion = us-west-2\n[profile work]\nregion = eu-west-1\ns3 =\n  max_queue_size = 9\n"
        "endpoint_url = https://minio.example\n",
    )

    work = options("s3", {"AWS_PROFILE": "work"})

    assert (work.config["secret_access_key"], work.config["region"]) == ("s3cr3t%work", "eu-west-1")
    assert work.endpoint == "https://minio.example"
    assert options("s3", {"AWS_PROFILE": "work", "AWS_REGION": "r-1"}).config["region"] == "r-1"
    assert options("s3", KEYS).endpoint == "https://s3.us-west-2.amazonaws.com"
    elsewhere = write(home / "other", "[work]\naws_access_key_id = O\naws_secret_access_key = s3cr3t-other\n")
    named = {"AWS_PROFILE": "work", "AWS_SHARED_CREDENTIALS_FILE": str(elsewhere)}
    assert options("s3", named).config["access_key_id"] == "O"


@each_of(
    "line, word",
    [
        ("credential_process = /bin/echo s3cr3t", "credential_process"),
        ("sso_session = corp", "sso_session"),
        ("role_arn = arn:aws:iam::1:role/r\nsource_profile = default", "role_arn"),
    ],
)
def test_a_profile_whose_credentials_come_from_elsewhere_requires_botocore(
    line: str, word: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(home / ".aws/config", f"[profile p]\n{line}\n")

    monkeypatch.setattr("hubcli.config.aws_profile.find_spec", lambda name: None)
    with pytest.raises(AuthenticationError, match=f"profile 'p' uses {word}, which requires") as caught:
        options("s3", {"AWS_PROFILE": "p"})
    assert caught.value.hint == "Run: pip install 'hubcli[aws]'"
    assert options("s3", {**KEYS, "AWS_PROFILE": "p"}).place == "AWS_ACCESS_KEY_ID"

    monkeypatch.setattr("hubcli.config.aws_profile.find_spec", lambda name: name)
    found = options("s3", {"AWS_PROFILE": "p"})
    assert (found.profile, found.place, found.has_account) == ("p", "the profile p", True)
    assert options("s3", {**KEYS, "AWS_PROFILE": "p"}).profile is None


def test_a_role_comes_before_the_keys_of_the_same_profile(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hubcli.config.aws_profile.find_spec", lambda name: name)
    keys = "aws_access_key_id = A\naws_secret_access_key = s3cr3t-of-source\n"
    write(
        home / ".aws/config", f"[default]\n{keys}role_arn = arn:aws:iam::1:role/r\nsource_profile = default\n"
    )
    found = options("s3", {})
    assert found.profile == "default"
    assert "access_key_id" not in found.config


def test_roles_of_pods_containers_and_machines_are_left_to_obstore(home: Path) -> None:
    token = {"AWS_WEB_IDENTITY_TOKEN_FILE": "/var/run/token", "AWS_ROLE_ARN": "arn:aws:iam::1:role/r"}
    assert options("s3", token).config["web_identity_token_file"] == "/var/run/token"
    assert options("s3", {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/x"}).place.endswith(
        "URI"
    )
    assert options("s3", {}).place == "instance metadata"
    assert not options("s3", {}).has_account
    with pytest.raises(AuthenticationError, match="No AWS credentials found") as caught:
        options("s3", {"AWS_EC2_METADATA_DISABLED": "true"})
    assert "--anonymous" in caught.value.hint


@each_of(
    "text",
    ["[default\naws_secret_access_key = s3cr3t-broken", "\xff\xfe", "aws_secret_access_key = s3cr3t-broken"],
)
def test_a_broken_file_is_named_and_not_quoted(text: str, home: Path) -> None:
    write(home / ".aws/credentials", "").write_bytes(text.encode("latin-1"))

    with pytest.raises(AuthenticationError, match=r"\.aws/credentials") as caught:
        options("s3", {})

    assert "s3cr3t" not in f"{caught.value!r} {caught.value.__cause__!r}"


def test_anonymous_reads_no_credentials(home: Path) -> None:
    write(home / ".aws/credentials", "[default\n")
    for scheme in ("gs", "az"):
        found = options(scheme, {"AZURE_STORAGE_KEY": "a2V5"}, "models", anonymous=True)
        assert (found.config["skip_signature"], found.place) == (True, "none")
    (home / ".aws/credentials").unlink()
    found = options("s3", KEYS, anonymous=True)
    assert (found.config["skip_signature"], "access_key_id" in found.config) == (True, False)


def test_requester_pays(home: Path) -> None:
    assert options("s3", KEYS, requester_pays=True).config["request_payer"] is True
    project = {"GOOGLE_CLOUD_PROJECT": "my-project"}
    assert options("gs", project, requester_pays=True).headers == {"x-goog-user-project": "my-project"}
    file = write(home / "adc", json.dumps({"type": "authorized_user", "quota_project_id": "quota"}))
    adc = {"GOOGLE_APPLICATION_CREDENTIALS": str(file)}
    assert options("gs", adc, requester_pays=True).headers == {"x-goog-user-project": "quota"}
    for variables in ({}, {"GOOGLE_CLOUD_PROJECT": "a\nb"}):
        with pytest.raises(UsageError, match="requires a project to bill"):
            options("gs", variables, requester_pays=True)


# --- Google


def test_application_default_credentials_are_found(home: Path) -> None:
    assert options("gs", {}).place == "the metadata server"
    file = write(home / ".config/gcloud/application_default_credentials.json", '{"type": "authorized_user"}')
    assert options("gs", {}).config == {"application_credentials": str(file)}
    account = write(home / "key.json", '{"type": "service_account"}')
    named = options("gs", {"GOOGLE_APPLICATION_CREDENTIALS": str(account)})
    assert named.config == {"service_account": str(account)}
    moved = write(home / "sdk/application_default_credentials.json", '{"type": "external_account"}')
    with pytest.raises(AuthenticationError, match="Unsupported credentials type 'external_account'"):
        options("gs", {"CLOUDSDK_CONFIG": str(moved.parent)})
    for broken in ("{", "[" * 5000, ""):
        with pytest.raises(AuthenticationError, match="Cannot read the credentials in"):
            options("gs", {"GOOGLE_APPLICATION_CREDENTIALS": str(write(home / "broken", broken))})


def test_an_emulator_of_google_is_used_without_credentials() -> None:
    for text in ("http://127.0.0.1:9000", "127.0.0.1:9000"):
        found = options("gs", {"STORAGE_EMULATOR_HOST": text})
        assert found.endpoint == "http://127.0.0.1:9000"
        assert json.loads(str(found.config["service_account_key"]))["disable_oauth"] is True
        assert found.is_plain_http


# --- Azure


STRING = (
    "DefaultEndpointsProtocol=https;AccountName=models;AccountKey=a2V5==;EndpointSuffix=core.chinacloudapi.cn"
)


@each_of(
    "variables, expected, place",
    [
        ({"AZURE_STORAGE_KEY": "a2V5"}, {"account_key": "a2V5"}, "AZURE_STORAGE_KEY"),
        ({"AZURE_STORAGE_ACCOUNT_KEY": "a2V5"}, {"account_key": "a2V5"}, "AZURE_STORAGE_ACCOUNT_KEY"),
        ({"AZURE_STORAGE_SAS_KEY": "sv=1&sig=x"}, {"sas_key": "sv=1&sig=x"}, "AZURE_STORAGE_SAS_KEY"),
        ({"AZURE_STORAGE_SAS_TOKEN": "?sv=1&sig=x"}, {"sas_key": "sv=1&sig=x"}, "AZURE_STORAGE_SAS_TOKEN"),
        (
            {"AZURE_CLIENT_ID": "c", "AZURE_TENANT_ID": "t", "AZURE_CLIENT_SECRET": "s3cr3t-azure"},
            {"client_id": "c", "tenant_id": "t", "client_secret": "s3cr3t-azure"},
            "AZURE_CLIENT_SECRET",
        ),
        (
            {"AZURE_CLIENT_ID": "c", "AZURE_TENANT_ID": "t", "AZURE_FEDERATED_TOKEN_FILE": "/t"},
            {"client_id": "c", "tenant_id": "t", "federated_token_file": "/t"},
            "AZURE_FEDERATED_TOKEN_FILE",
        ),
        ({"IDENTITY_ENDPOINT": "http://x"}, {"msi_endpoint": "http://x"}, "managed identity"),
        ({}, {}, "managed identity"),
    ],
)
def test_azures_variables(
    variables: dict[str, str], expected: dict[str, str], place: str, home: Path
) -> None:
    found = options("az", {"AZURE_STORAGE_ACCOUNT": "models", **variables})

    endpoint = "https://models.blob.core.windows.net"
    assert found.config == {"account_name": "models", "endpoint": endpoint, **expected}
    assert found.place == place


def test_a_connection_string_and_the_azure_cli(home: Path) -> None:
    found = options("az", {"AZURE_STORAGE_CONNECTION_STRING": STRING})
    assert found.config["account_key"] == "a2V5=="
    assert found.endpoint == "https://models.blob.core.chinacloudapi.cn"
    write(home / ".azure/azureProfile.json", "{}")
    assert options("az", {"AZURE_STORAGE_ACCOUNT": "models"}).config["use_azure_cli"] is True


def test_the_key_of_one_account_is_never_sent_to_another(home: Path) -> None:
    variables = {
        "AZURE_STORAGE_ACCOUNT": "mine",
        "AZURE_STORAGE_KEY": "a2V5",
        "AZURE_STORAGE_ENDPOINT": "http://127.0.0.1:1/mine",
    }
    assert options("az", variables, "mine").config["account_key"] == "a2V5"
    other = options("az", variables, "other")
    assert "account_key" not in other.config
    assert other.endpoint == "https://other.blob.core.windows.net"
    with pytest.raises(AuthenticationError, match="No Azure storage account is set"):
        options("az", {})


# --- All


@each_of(
    "variable, value",
    [
        ("AWS_ENDPOINT_URL", "minio.example"),
        ("AWS_ENDPOINT_URL_S3", "ftp://minio.example"),
        ("AWS_ENDPOINT_URL", "https://me:hunter2@minio.example"),
        ("AWS_ENDPOINT_URL", "https://"),
        ("AWS_ENDPOINT_URL", "https://minio.example?token=hunter2"),
    ],
)
def test_an_endpoint_that_is_none_is_refused(variable: str, value: str, home: Path) -> None:
    with pytest.raises(UsageError, match="not the URL of a service") as caught:
        options("s3", {**KEYS, variable: value})
    assert "hunter2" not in str(caught.value)


def test_secrets_are_in_no_representation_and_are_masked_in_messages(home: Path) -> None:
    config = BucketConfig.read({**KEYS, "AWS_SESSION_TOKEN": "t0ken-of-variables"})
    found = bucket_options(config, "s3")

    assert "s3cr3t" not in repr(config) + repr(found)
    assert "t0ken" not in repr(config) + repr(found)
    error: Any = HubcliError("echo s3cr3t-of-variables t0ken-of-variables")
    assert "s3cr3t" not in redacted(error.message)
    assert "t0ken" not in redacted(error.message)
    assert not config.variables.keys() - {*KEYS, "AWS_SESSION_TOKEN"}


@each_of(
    "name, value, message",
    [
        ("AWS_ACCESS_KEY_ID", "AKIA\r", "The credentials in AWS_ACCESS_KEY_ID have an invalid character"),
        ("AWS_SESSION_TOKEN", "t\u00f6ken", "The credentials in AWS_ACCESS_KEY_ID have an invalid character"),
        ("AWS_REGION", "eu-west-1\r", "The AWS region has an invalid character"),
    ],
)
def test_what_cannot_stand_in_a_header_is_refused(name: str, value: str, message: str, home: Path) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "s3cr3t", name: value}
    with pytest.raises(HubcliError, match=message):
        bucket_options(BucketConfig.read(keys), "s3")


# --- Clocks


def test_signatures_tell_whether_the_clock_of_this_machine_is_checked(home: Path) -> None:
    key = write(home / "key.json", '{"type": "service_account"}')
    user = write(home / "user.json", '{"type": "authorized_user"}')
    account = {"AZURE_STORAGE_ACCOUNT": "name"}
    checked = [
        options("s3", KEYS),
        options("s3", {}),
        options("gs", {"GOOGLE_APPLICATION_CREDENTIALS": str(key)}),
        options("az", {**account, "AZURE_STORAGE_KEY": "a2V5"}),
    ]
    unchecked = [
        options("s3", KEYS, anonymous=True),
        options("gs", {}),
        options("gs", {"GOOGLE_APPLICATION_CREDENTIALS": str(user)}),
        options("gs", {"STORAGE_EMULATOR_HOST": "http://127.0.0.1:1"}),
        options("az", {**account, "AZURE_STORAGE_SAS_TOKEN": "sig=x"}),
        options("az", account),
    ]
    assert all(found.is_signed_with_time for found in checked)
    assert not any(found.is_signed_with_time for found in unchecked)
