"""Models on Kaggle: what names one, and how that name is spelled in addresses.

kagglehub writes `owner/model/framework/variation[/version]`; the site has the
same as a short address, and a long one with `frameworks`, `variations` and
`versions` in it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from hubcli.errors import HandleError

__all__ = ["KaggleModel"]

_HOSTS = ("www.kaggle.com", "kaggle.com")
# Kaggle's own casing, by what people type.
_FRAMEWORKS = {"tensorflow2": "tensorFlow2", "tensorflow1": "tensorFlow1"}
_API_VERBS = ("download", "get", "files", "list")


@dataclass(frozen=True, slots=True)
class KaggleModel:
    """One variation of a model, at one version or, where that is None, the latest."""

    owner: str
    model: str
    framework: str
    variation: str
    version: str | None = None

    @classmethod
    def of_parts(cls, parts: Sequence[str], shown: str) -> KaggleModel:
        """The model that kagglehub's four or five parts name.

        Raises HandleError, which quotes `shown`, for a framework without
        SavedModels and a version that is no number.
        """
        owner, model, framework, variation, *version = parts
        cased = _FRAMEWORKS.get(framework.lower())
        if cased is None:
            raise HandleError(
                f"'{shown}' has the framework '{framework}', which holds no SavedModels",
                hint="The frameworks with SavedModels are tensorFlow2 and tensorFlow1.",
            )
        if version and not (version[0].isascii() and version[0].isdecimal()):
            raise HandleError(
                f"'{shown}' has the version '{version[0]}', which is no number",
                hint="Accepted: a whole number, or no version for the latest one.",
            )
        return cls(owner, model, cased, variation, version[0] if version else None)

    @classmethod
    def of_path(cls, segments: Sequence[str], shown: str) -> KaggleModel:
        """The model that the path of an address names: long, short, or of the download API.

        Raises HandleError, which quotes `shown`, for every other page of Kaggle.
        """
        if list(segments[:3]) == ["api", "v1", "models"]:
            segments = segments[2:-1] if segments[-1] in _API_VERBS else segments[2:]
        if segments[0] != "models":
            raise HandleError(
                f"'{shown}' is a Kaggle page, but not one of a model",
                hint="Accepted: a model of Kaggle, https://www.kaggle.com/models/<owner>/<model>/tensorFlow2/…",
            )
        match segments[1:]:
            case [owner, model, "frameworks", framework, "variations", variation]:
                parts = [owner, model, framework, variation]
            case [owner, model, "frameworks", framework, "variations", variation, "versions", version]:
                parts = [owner, model, framework, variation, version]
            case [_, _, _, _] | [_, _, _, _, _]:
                parts = list(segments[1:])
            case _:
                raise HandleError(
                    f"'{shown}' is a Kaggle page that names no single variation of a model",
                    hint="Open it, choose framework and variation, and copy that address: "
                    "https://www.kaggle.com/models/<owner>/<model>/tensorFlow2/<variation>/<version>",
                )
        return cls.of_parts(parts, shown)

    @property
    def addresses(self) -> list[str]:
        """Every address of the model, the canonical one first: both forms, hosts and casings."""
        found = []
        capital = self.framework[0].upper() + self.framework[1:]
        for framework, host in itertools.product((self.framework, capital), _HOSTS):
            page = f"https://{host}/models/{self.owner}/{self.model}"
            short = f"{page}/{framework}/{self.variation}"
            long = f"{page}/frameworks/{framework}/variations/{self.variation}"
            if self.version is not None:
                short, long = f"{short}/{self.version}", f"{long}/versions/{self.version}"
            found += [short, long]
        return found
