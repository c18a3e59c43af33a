"""`info`: what a publisher says of a model: description, license, usage, and the model's own README."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hubcli.config.settings import Settings
from hubcli.errors import NetworkError, NotFoundError, OfflineError
from hubcli.fetching.model_ref import ModelRef, naming_target
from hubcli.progress import ProgressListener
from hubcli.providers.handle import Handle
from hubcli.providers.kaggle import KaggleModel
from hubcli.publishing.answer_cache import AnswerCache
from hubcli.publishing.kaggle_api import KaggleApi, framework_of, open_kaggle
from hubcli.publishing.listings import index_of_model
from hubcli.publishing.readme import Readme, readme_in_archive, readme_in_directory

__all__ = ["ModelDetails", "info"]


@dataclass(frozen=True, slots=True)
class ModelDetails:
    """What is known of a model beyond its files; None and "" stand for unknown values.

    Texts are Markdown. `version` is the latest of a handle without one; sizes are in bytes, times in seconds
    since 1970. `sources` says where the facts come from: an address, or the path of the model.
    """

    handle: str
    title: str = ""
    subtitle: str = ""
    description: str = ""
    license: str | None = None
    framework: str | None = None
    version: str | None = None
    size_bytes: int | None = None
    overview: str = ""
    usage: str = ""
    is_fine_tunable: bool | None = None
    training_data: tuple[str, ...] = ()
    base_model_url: str | None = None
    votes: int | None = None
    downloads: int | None = None
    updated_s: float | None = None
    readme: Readme | None = None
    path: str | None = None
    sources: tuple[str, ...] = ()
    cached_at_s: float | None = None


def info(
    target: str,
    settings: Settings | None = None,
    listener: ProgressListener | None = None,
    *,
    refresh: bool = False,
) -> ModelDetails:
    """What Kaggle or the index of its host says of the model, and the README that it carries.

    The target is a handle, a directory or an archive; a model on this machine needs no request. Raises
    NotFoundError where nothing is known of it; HandleError, NetworkError, OfflineError.
    """
    settings, listener = settings or Settings.read(), listener or ProgressListener()
    resolved = ModelRef.resolve(target, settings)
    answers = AnswerCache.of(settings, is_refreshed=refresh)
    with naming_target(resolved, settings):
        details = _with_readme(ModelDetails(resolved.name), resolved, settings)
        handle = resolved.handle
        if handle is None and resolved.entry is not None and resolved.entry.handle is not None:
            handle = Handle.parse(resolved.entry.handle)
        if handle is not None and handle.is_remote:
            try:
                details = _with_host(details, handle, settings, answers, listener)
            except (NetworkError, NotFoundError) as error:
                if details.readme is None:
                    raise
                if not isinstance(error, OfflineError):
                    listener.note(f"Showing only what the model itself tells: {error.message}")
    if not details.sources:
        raise NotFoundError(
            f"{details.handle} has no README.md and no model card",
            hint=f"Run: hubcli inspect {details.handle}",
        )
    return replace(details, cached_at_s=answers.oldest_s)


def _with_readme(details: ModelDetails, resolved: ModelRef, settings: Settings) -> ModelDetails:
    """The facts with what the model itself carries."""
    if resolved.directory is not None:
        readme = readme_in_directory(resolved.directory)
        details = replace(details, path=str(resolved.directory))
    elif resolved.archive is not None and not resolved.is_keras_file and resolved.handle is not None:
        readme = readme_in_archive(resolved.handle, settings)
        details = replace(details, path=str(resolved.archive))
    else:
        readme = None
    if readme is None:
        return details
    return replace(
        details,
        readme=readme,
        title=readme.title or "",
        license=readme.license,
        sources=(str(details.path),),
    )


def _with_host(
    details: ModelDetails,
    handle: Handle,
    settings: Settings,
    answers: AnswerCache,
    listener: ProgressListener,
) -> ModelDetails:
    """The facts with those of the host, which go before the README's."""
    model = KaggleModel.of(handle)
    if model is not None:
        with open_kaggle(settings, listener.retrying, answers) as api:
            return _with_kaggle(details, model, api)
    index, name = index_of_model(handle, settings, answers, listener.retrying)
    found = next(hit for hit in index.hits() if hit.name.rpartition("/")[0] == name)
    version = handle.version or found.version
    at = next((hit for hit in index.versions(name) if hit.version == version), None)
    return replace(
        details,
        title=found.title,
        license=found.license or details.license,
        framework=found.framework,
        version=version,
        size_bytes=at.size_bytes if at is not None else None,
        updated_s=at.published_s if at is not None else None,
        sources=(index.address, *details.sources),
    )


def _with_kaggle(details: ModelDetails, model: KaggleModel, api: KaggleApi) -> ModelDetails:
    listing = api.model(model.owner, model.model)
    variation = api.variation(model)
    is_latest = model.version is None or model.version == str(variation.version)
    latest = None if variation.version is None else str(variation.version)
    downloads = variation.download_count
    return replace(
        details,
        title=listing.title,
        subtitle=listing.subtitle,
        description=listing.description,
        license=variation.license_name or details.license,
        framework=framework_of(variation.framework) or model.framework,
        version=model.version or latest,
        size_bytes=variation.size_bytes if is_latest else None,
        overview=variation.overview,
        usage=variation.usage,
        is_fine_tunable=variation.is_fine_tunable,
        training_data=variation.training_data,
        base_model_url=variation.base_model_url,
        votes=listing.votes,
        downloads=listing.download_count if downloads is None else downloads,
        updated_s=listing.updated_s if listing.updated_s is not None else listing.published_s,
        sources=(model.page, *details.sources),
    )
