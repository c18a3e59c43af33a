"""A profile of the AWS CLI, from its two files.

Their format: https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html.
"""

from __future__ import annotations

import configparser
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from hubcli.config.environment import absolute, in_home
from hubcli.errors import AuthenticationError
from hubcli.regular_file import read_regular

__all__ = ["MAX_FILE_BYTES", "AwsProfile"]

MAX_FILE_BYTES = 1 << 20
# Keys of a profile that name a program or a service which returns its credentials.
_ROLES = ("source_profile", "credential_source")
_BY_BOTOCORE = ("role_arn", "credential_process", "sso_session", "sso_start_url")


@dataclass(frozen=True, slots=True)
class AwsProfile:
    """The AWS CLI profile in use, with its values from both files."""

    name: str
    is_named: bool
    values: Mapping[str, str] = field(repr=False)

    @classmethod
    def read(cls, variables: Mapping[str, str]) -> AwsProfile:
        """The profile that the variables name, else the default one. Raises AuthenticationError."""
        named = variables.get("AWS_PROFILE") or variables.get("AWS_DEFAULT_PROFILE")
        name = named or "default"
        values: dict[str, str] = {}
        section = name if name == "default" else f"profile {name}"
        for variable, file, heading in (
            ("AWS_CONFIG_FILE", ".aws/config", section),
            ("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials", name),
        ):
            path = absolute(variables[variable], variable) if variable in variables else in_home(file)
            values.update(_section(path, heading) if path is not None else {})
        return cls(name, named is not None, values)

    def get(self, name: str) -> str | None:
        """The value of that name; None if it is absent or empty."""
        return self.values.get(name) or None

    @property
    def place(self) -> str:
        """Its name in messages."""
        return f"the profile {self.name}"

    @property
    def has_role(self) -> bool:
        """Whether it assumes a role with other credentials, which take precedence over its own keys."""
        return self.get("role_arn") is not None and any(map(self.get, _ROLES))

    def needs_botocore(self) -> bool:
        """Whether its credentials come from a program or a service, and so from botocore.

        Raises AuthenticationError if botocore isn't installed, or a named profile has no credentials.
        """
        kind = next((word for word in _BY_BOTOCORE if self.get(word)), None)
        if kind is not None and find_spec("botocore") is None:
            raise AuthenticationError(
                f"The AWS profile '{self.name}' uses {kind}, which requires the package botocore",
                hint="Run: pip install 'hubcli[aws]'",
            )
        if kind is None and self.is_named:
            raise AuthenticationError(
                f"The AWS profile '{self.name}' has no credentials",
                hint=f"Run: aws configure --profile {self.name}",
            )
        return kind is not None


def _section(path: Path, name: str) -> dict[str, str]:
    """The values of the section by lower-case keys; empty if the file or the section is absent."""
    try:
        text = read_regular(path, MAX_FILE_BYTES).decode("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise AuthenticationError(f"Cannot read {path}", hint="Check its permissions.") from error
    parser = configparser.RawConfigParser(strict=False, default_section="")
    try:
        parser.read_string(text)
    except configparser.Error:
        # The error quotes the line, which may hold a secret.
        raise AuthenticationError(f"{path} is not a valid INI file", hint="Run: aws configure") from None
    return dict(parser.items(name)) if parser.has_section(name) else {}
