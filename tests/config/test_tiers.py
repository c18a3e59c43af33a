"""Shared tiers as options, the variable and the config file name them."""

from __future__ import annotations

from pathlib import Path

import pytest

from hubcli.config.config_file import read_config_file
from hubcli.config.settings import Settings
from hubcli.config.tiers import TierConfig
from hubcli.errors import UsageError
from tests.cases import each_of


def _addresses(tmp_path: Path, variable: str = "", options: tuple[str, ...] = ()) -> list[str]:
    file = tmp_path / "config.toml"
    file.write_text('tiers = ["s3://of-the-file/x"]\n')
    settings = Settings.read(
        {"HUBCLI_TIERS": variable}, cache_dir=tmp_path, tiers=options, config=read_config_file(file)
    )
    return [tier.address for tier in settings.tiers]


def test_options_take_the_place_of_the_variable_and_that_of_the_file(tmp_path: Path) -> None:
    assert _addresses(tmp_path) == ["s3://of-the-file/x"]
    assert _addresses(tmp_path, "gs://a/b, /mnt/tier") == ["gs://a/b", "/mnt/tier"]
    assert _addresses(tmp_path, "gs://a", ("az://c/d",)) == ["az://c/d"]
    assert _addresses(tmp_path, "off") == []


def test_an_address_tells_how_it_may_be_used() -> None:
    assert TierConfig.parse("s3://models/hub") == TierConfig("s3://models/hub")
    assert TierConfig.parse("s3://models/hub/?mode=read-write&private=yes&lease=5s") == TierConfig(
        "s3://models/hub", is_writable=True, takes_private=True, lease_s=5.0
    )
    assert TierConfig.parse("az://c/d?account=me&mode=read-write").address == "az://c/d?account=me"
    assert TierConfig.parse("file:///mnt/x").address == "/mnt/x"
    assert TierConfig.parse("/mnt/x").is_local
    assert not TierConfig.parse("https://h.example/x").is_local


@each_of(
    "text, message",
    [
        ("models", "--tier is 'models', not an address of a shared tier"),
        ("ftp://x/y", "--tier is 'ftp://x/y', not an address of a shared tier"),
        ("s3://", "--tier is 's3://', not an address of a shared tier"),
        ("s3://x?mode=write", "--tier has the invalid mode='write', not one of read, read-write"),
        ("s3://x?private=", "--tier has the invalid private='', not one of no, yes"),
        ("s3://x?mod=read", "--tier has an unknown parameter 'mod'. Did you mean 'mode'?"),
        ("s3://x?lease=1s", "--tier has lease='1s', not a time from 2s to 10m"),
        ("s3://x?lease=1h", "--tier has lease='1h', not a time from 2s to 10m"),
        ("s3://x?" + "&" * 30 + "a=b&" * 30, "--tier has too many parameters"),
    ],
)
def test_what_is_no_tier_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        TierConfig.parse(text)
    assert raised.value.message == message


def test_no_secret_is_quoted() -> None:
    with pytest.raises(UsageError) as raised:
        TierConfig.parse("ftp://me:secret@x/y")
    assert "secret" not in raised.value.message
    assert "secret" not in repr(TierConfig.parse("https://me:secret@x/y"))
