"""Credentials of AWS profiles that take a role, a login or a program, by botocore: no cloud is asked."""

from __future__ import annotations

import hashlib
import json
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from hubcli.commands.fetch import fetch
from hubcli.config.settings import Settings
from hubcli.errors import AuthenticationError
from tests import models
from tests.bucket_servers import BucketServer
from tests.cases import each_of
from tests.server import HubServer, Reply

pytest.importorskip("obstore", reason="buckets need obstore")
pytest.importorskip("botocore", reason="these profiles need botocore")

_LATER = (datetime.now(timezone.utc) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
_ROLE = "arn:aws:iam::123456789012:role/reader"
_ASSUMED = f"""<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>
<Credentials><AccessKeyId>AKIA-ROLE</AccessKeyId><SecretAccessKey>s3cr3t-of-role</SecretAccessKey>
<SessionToken>token-of-role</SessionToken><Expiration>{_LATER}</Expiration></Credentials>
<AssumedRoleUser><Arn>{_ROLE}/x</Arn><AssumedRoleId>R:x</AssumedRoleId></AssumedRoleUser>
</AssumeRoleResult></AssumeRoleResponse>"""
_KEYS = {"Version": 1, "AccessKeyId": "AKIA", "SecretAccessKey": "s3cr3t"}
_EXPIRED = json.dumps({**_KEYS, "Expiration": "2020-01-01T00:00:00Z"})
_BROKEN = json.dumps({**_KEYS, "AccessKeyId": "AKIA\r\nX-Header: 1"})
_EMPTY = json.dumps({**_KEYS, "AccessKeyId": ""})
_DENIED = "<ErrorResponse><Error><Code>AccessDenied</Code><Message>s3cr3t</Message></Error></ErrorResponse>"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: HubServer) -> Path:
    """A home without credentials, and every service of the cloud at the test's server."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    dates = {"Last-Modified": "Sun, 29 Nov 2026 00:00:00 GMT"}
    server.serve("/models/m.tar.gz", Reply(models.archive(), etag='"1"', headers=dates))
    return tmp_path


def fetched_by(profile: str, home: Path, config: str, server: HubServer, **more: str) -> str:
    """The Authorization header by which the object was asked for, of a profile `p` with these lines."""
    import os

    path = Path(more.get("AWS_CONFIG_FILE", home / ".aws" / "config"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(config)
    variables = {name: os.environ[name] for name in os.environ if name.startswith("AWS_")} | more
    fetch("s3://models/m.tar.gz", Settings.read({**variables, "AWS_PROFILE": profile}, cache_dir=home / "c"))
    requests = [request for request in server.requests if request.path.startswith("/models/")]
    return requests[-1].headers["authorization"]


def test_the_keys_of_a_program_are_used(home: Path, server: HubServer) -> None:
    answer = {"Version": 1, "AccessKeyId": "AKIA-PROGRAM", "SecretAccessKey": "s3cr3t", "Expiration": _LATER}
    program = home / "keys.py"
    program.write_text(f"print({json.dumps(json.dumps(answer))})")
    config = f"[profile p]\ncredential_process = {sys.executable} {program}\n"
    assert "AKIA-PROGRAM/" in fetched_by("p", home, config, server)


def test_the_config_file_is_the_one_that_the_settings_name(home: Path, server: HubServer) -> None:
    keys = json.dumps({**_KEYS, "AccessKeyId": "AKIA-ELSEWHERE", "Expiration": _LATER})
    (home / "keys.py").write_text(f"print({keys!r})")
    config = f"[profile p]\ncredential_process = {sys.executable} {home / 'keys.py'}\n"
    elsewhere = str(home / "elsewhere" / "aws")
    assert "AKIA-ELSEWHERE/" in fetched_by("p", home, config, server, AWS_CONFIG_FILE=elsewhere)


def test_a_role_is_taken_with_the_keys_of_its_source(home: Path, server: HubServer) -> None:
    server.serve("/", Reply(_ASSUMED.encode()))
    keys = "aws_access_key_id = AKIA-SOURCE\naws_secret_access_key = s3cr3t-of-source\n"
    config = f"[profile base]\n{keys}[profile p]\nrole_arn = {_ROLE}\nsource_profile = base\n"
    assert "AKIA-ROLE/" in fetched_by("p", home, config, server)
    (request_of_role,) = [request for request in server.requests if request.path == "/"]
    assert "AKIA-SOURCE/" in request_of_role.headers["Authorization"]


def test_a_login_by_sso_is_used_until_it_expires(
    home: Path, server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = "https://corp.example/start"
    answer = {
        "roleCredentials": {
            "accessKeyId": "AKIA-SSO",
            "secretAccessKey": "s3cr3t-of-sso",
            "sessionToken": "token-of-sso",
            "expiration": int((datetime.now(timezone.utc) + timedelta(hours=1)).timestamp() * 1000),
        }
    }
    server.serve("/federation/credentials", Reply(json.dumps(answer).encode()))
    cache = home / ".aws" / "sso" / "cache"
    cache.mkdir(parents=True)
    # It looks for the user's home when it is imported.
    monkeypatch.setattr("botocore.credentials.SSOProvider._SSO_TOKEN_CACHE_DIR", str(cache))
    login = cache / f"{hashlib.sha1(start.encode()).hexdigest()}.json"
    login.write_text(json.dumps({"accessToken": "login", "expiresAt": _LATER, "startUrl": start}))
    config = (
        f"[profile p]\nsso_start_url = {start}\nsso_region = us-east-1\n"
        "sso_account_id = 123456789012\nsso_role_name = reader\n"
    )
    assert "AKIA-SSO/" in fetched_by("p", home, config, server)

    login.write_text(json.dumps({"accessToken": "login", "expiresAt": "2020-01-01T00:00:00Z"}))
    (home / "c").rename(home / "before")
    with pytest.raises(AuthenticationError, match="the SSO login has expired") as caught:
        fetched_by("p", home, config, server)
    assert caught.value.hint == "Run: aws sso login --profile p"


@each_of(
    "lines, reply, message",
    [
        (f"role_arn = {_ROLE}\nsource_profile = base", _DENIED, "AWS profile 'p': AccessDenied"),
        (
            f"role_arn = {_ROLE}\nsource_profile = nobody",
            "",
            "Cannot get credentials of the AWS profile 'p': ",
        ),
        (
            f"role_arn = {_ROLE}\nsource_profile = base\nmfa_serial = arn:x",
            "",
            "requires an MFA code",
        ),
        ("credential_process = /bin/false s3cr3t", "", "AWS profile 'p': CredentialRetrievalError"),
        ("credential_process = /nowhere/s3cr3t", "", "AWS profile 'p': FileNotFoundError"),
        ("credential_process = /bin/echo '[\"s3cr3t\"]'", "", "AWS profile 'p': AttributeError"),
        (f"credential_process = /bin/echo '{_EXPIRED}'", "", "AWS profile 'p': RuntimeError"),
        (f"credential_process = /bin/echo '{_EMPTY}'", "", "The AWS profile 'p' has no credentials"),
        (f"credential_process = /bin/echo '{_BROKEN}'", "", "has credentials with an invalid character"),
        (
            f"role_arn = {_ROLE}\nrole_arn = s3cr3t\nsource_profile = base",
            "",
            "AWS profile 'p': ConfigParseError",
        ),
        (
            f"role_arn = {_ROLE}\nsource_profile = q\n[profile q]\nrole_arn = {_ROLE}\nsource_profile = p",
            "",
            "has a chain of more than 10 profiles",
        ),
    ],
)
def test_a_failure_is_reported_without_the_output_of_the_program(
    lines: str, reply: str, message: str, home: Path, server: HubServer
) -> None:
    server.serve("/", Reply(reply.encode(), status=403))
    keys = "aws_access_key_id = AKIA-SOURCE\naws_secret_access_key = s3cr3t-of-source\n"
    with pytest.raises(AuthenticationError, match=message) as caught:
        fetched_by("p", home, f"[profile base]\n{keys}[profile p]\n{lines}\n", server)
    assert "profile p" in caught.value.hint
    assert "s3cr3t" not in f"{caught.value} {caught.value.hint} {caught.value.__cause__}"
    assert not any(request.path.startswith("/models") for request in server.requests)


def test_other_credentials_load_no_botocore(home: Path, server: HubServer) -> None:
    import subprocess

    program = (
        "import sys; from hubcli.commands.fetch import fetch; from hubcli.config.settings import Settings\n"
        f"keys = {{'AWS_ENDPOINT_URL': {server.url!r}, 'AWS_ACCESS_KEY_ID': 'a'}}\n"
        "keys['AWS_SECRET_ACCESS_KEY'] = 'b'\n"
        f"fetch('s3://models/m.tar.gz', Settings.read(keys, cache_dir={str(home / 'c')!r}))\n"
        "print('obstore' in sys.modules, 'botocore' in sys.modules, 'httpx' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["True", "False", "False"]


@pytest.mark.slow
def test_a_role_that_moto_gives_reads_its_bucket(
    home: Path, s3_server: BucketServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    import obstore
    from obstore.store import S3Store

    bucket = s3_server.new_bucket()
    store = S3Store(bucket.removeprefix("s3://"), **s3_server.store_options())
    obstore.put(store, "m.tar.gz", models.archive())
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server.url)
    (home / ".aws").mkdir()
    keys = "aws_access_key_id = AKIA-SOURCE\naws_secret_access_key = s3cr3t-of-source\n"
    role = f"role_arn = {_ROLE}\nsource_profile = base\n"
    (home / ".aws" / "config").write_text(f"[profile base]\n{keys}[profile p]\n{role}")
    variables = {"AWS_PROFILE": "p", "AWS_ENDPOINT_URL": s3_server.url}
    result = fetch(f"{bucket}/m.tar.gz", Settings.read(variables, cache_dir=home / "c"))
    assert (result.path / "saved_model.pb").is_file()
