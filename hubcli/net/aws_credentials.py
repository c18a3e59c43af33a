"""Credentials of AWS profiles with a role, an SSO login or a program, from botocore, as in the AWS CLI.

botocore is an extra and takes 0.2 s to load: it is imported for such profiles only. Its error messages
are not shown, since they may contain the output of a program.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from hubcli.config.buckets import is_sendable
from hubcli.errors import AuthenticationError, HubcliError
from hubcli.urls import remember_secret

__all__ = ["ProfileCredentials"]

# botocore refreshes credentials with less than ten minutes left.
_VALID_FOR = timedelta(minutes=10)
_MAX_CHAIN = 10
_FILES = {"AWS_CONFIG_FILE": "config_file", "AWS_SHARED_CREDENTIALS_FILE": "credentials_file"}
_UNREACHABLE = ("EndpointConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "ProxyConnectionError")
_EXPORT = 'Run: eval "$(aws configure export-credentials --profile {} --format env)"'


class ProfileCredentials:
    """The profile's credentials; obstore calls it whenever it needs them, refreshed before they expire.

    While they are loaded, `unchanged_environment` keeps the variables as the user set them: a role may take
    its first credentials from there. May be called from several threads.
    """

    def __init__(
        self,
        name: str,
        variables: Mapping[str, str],
        region: str,
        ca_file: Path | None,
        unchanged_environment: Callable[[], AbstractContextManager[Any]],
    ) -> None:
        self.name = name
        self._variables, self._region, self._ca_file = variables, region, ca_file
        self._unchanged_environment = unchanged_environment
        self._credentials: Any = None

    def __call__(self) -> dict[str, Any]:
        """Key, secret, token, and the time until which obstore keeps them. Raises AuthenticationError."""
        try:
            with self._unchanged_environment():
                if self._credentials is None:
                    self._credentials = self._load()
                frozen = None if self._credentials is None else self._credentials.get_frozen_credentials()
        except HubcliError:
            raise
        # botocore checks little of its files and programs: invalid ones raise errors of any class.
        except Exception as error:  # noqa: BLE001
            raise self._failed(error) from None
        if frozen is None or not frozen.access_key or not frozen.secret_key:
            raise AuthenticationError(
                f"The AWS profile '{self.name}' has no credentials",
                hint=f"Run: aws configure --profile {self.name}",
            )
        for value in (frozen.secret_key, frozen.token):
            if value and isinstance(value, str):
                remember_secret(value)
        if not all(map(is_sendable, (frozen.access_key, frozen.secret_key, frozen.token or ""))):
            raise AuthenticationError(
                f"The AWS profile '{self.name}' has credentials with an invalid character",
                hint=f"Check it: aws sts get-caller-identity --profile {self.name}",
            )
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(timezone.utc) + _VALID_FOR,
        }

    def _load(self) -> Any:
        """The credentials that botocore finds; None if the profile has none."""
        from botocore.session import Session  # type: ignore[import-untyped]

        session = Session(profile=self.name)
        for variable, option in _FILES.items():
            if variable in self._variables:
                session.set_config_variable(option, self._variables[variable])
        if self._ca_file is not None:
            session.set_config_variable("ca_bundle", str(self._ca_file))
        if session.get_config_variable("region") is None:
            session.set_config_variable("region", self._region)  # The region of the STS endpoint.
        self._require_no_mfa(session.full_config.get("profiles", {}))
        return session.get_credentials()

    def _require_no_mfa(self, profiles: Mapping[str, Mapping[str, Any]]) -> None:
        """Raises AuthenticationError if a profile requires an MFA code: botocore would prompt for it."""
        name = self.name
        for _ in range(_MAX_CHAIN):
            profile = profiles.get(name, {})
            if "mfa_serial" in profile and "role_arn" in profile:
                raise AuthenticationError(
                    f"The AWS profile '{name}' requires an MFA code, which hubcli does not ask for",
                    hint=_EXPORT.format(self.name),
                )
            if profile.get("source_profile", name) == name:
                return
            name = profile["source_profile"]
        raise AuthenticationError(
            f"The AWS profile '{self.name}' has a chain of more than {_MAX_CHAIN} profiles",
            hint=_EXPORT.format(self.name),
        )

    def _failed(self, error: Exception) -> AuthenticationError:
        kind = type(error).__name__
        what = f"Cannot get credentials of the AWS profile '{self.name}'"
        if "SSO" in kind or "Token" in kind:
            return AuthenticationError(
                f"{what}: the SSO login has expired", hint=f"Run: aws sso login --profile {self.name}"
            )
        if kind in _UNREACHABLE:
            return AuthenticationError(f"{what}: the service cannot be reached", hint="Check the network.")
        if isinstance(error, ImportError):
            return AuthenticationError(
                f"{what}: botocore cannot be imported",
                hint="Run: pip install --force-reinstall 'hubcli[aws]'",
            )
        code = getattr(error, "response", {}).get("Error", {}).get("Code", "")
        reason = code if re.fullmatch(r"\w{1,80}", code) else kind
        return AuthenticationError(
            f"{what}: {reason}", hint=f"Check it: aws sts get-caller-identity --profile {self.name}"
        )
