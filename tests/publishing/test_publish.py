"""Publishing on Kaggle: what is created, asked for and refused."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from hubcli.commands.publish import (
    PublishPlan,
    PublishStatus,
)
from hubcli.config.tiers import TierConfig
from hubcli.errors import (
    AuthenticationError,
    HandleError,
    HubcliError,
    NetworkError,
    OfflineError,
    UsageError,
)
from hubcli.providers.kaggle import KaggleModel
from hubcli.publishing.hub_tree import HubPlace, parse_target
from hubcli.publishing.kaggle_creation import VersionExistsError
from tests import models
from tests.cases import each_of
from tests.fake_kaggle_uploads import OWNER
from tests.publishing.publisher import NAME, Publisher

# Created ------------------------------------------------------------------------------------------


def test_a_new_model_is_created_private_with_its_variation_and_version(publisher: Publisher) -> None:
    publisher.kaggle.processing_reads = 2
    result = publisher.publish(description="About it", title="Multiplies")
    assert (result.status, result.version, result.was_compared) == (PublishStatus.PUBLISHED, "1", True)
    assert result.handle == f"https://www.kaggle.com/models/{NAME}/1"
    assert result.plan is not None
    assert result.plan.creates == ("model", "variation", "version")
    publisher.require_published_once()
    model = publisher.kaggle.models[OWNER, "mul"]
    assert (model.is_private, model.title, model.description) == (True, "Multiplies", "About it")
    assert model.instances[0].license_name == "Apache 2.0"


def test_a_changed_model_becomes_the_next_version_with_its_notes(publisher: Publisher) -> None:
    publisher.publish()
    models.write_tree(publisher.model, {"assets/words.txt": b"one\n"})
    assert publisher.publish(notes="More words").version == "2"
    assert publisher.versions[1] == publisher.files
    notes = publisher.kaggle.published(NAME)[1].notes
    assert re.fullmatch(r"More words\n\n\[hubcli-upload-[0-9a-f]{32}\]", notes)


def test_what_is_published_already_is_not_published_again(publisher: Publisher) -> None:
    publisher.publish()
    result = publisher.publish()
    assert (result.status, result.version) == (PublishStatus.ALREADY_PUBLISHED, "1")
    assert publisher.publish(f"{NAME}/1").status is PublishStatus.ALREADY_PUBLISHED
    publisher.require_published_once()


def test_versions_are_immutable(publisher: Publisher) -> None:
    publisher.publish()
    models.write_tree(publisher.model, {"assets/words.txt": b"one\n"})
    with pytest.raises(VersionExistsError, match="Version 1 of .* exists with other files") as caught:
        publisher.publish(f"{NAME}/1")
    assert int(caught.value.exit_status) == 11
    with pytest.raises(UsageError, match="Cannot publish version 7 .* the next version is 2"):
        publisher.publish(f"{NAME}/7")
    assert publisher.publish(f"{NAME}/2").version == "2"


def test_other_values_in_files_of_the_same_sizes_are_other_files(publisher: Publisher) -> None:
    models.write_tree(publisher.model, {"assets/words.txt": b"one\n"})
    publisher.publish()
    models.write_tree(publisher.model, {"assets/words.txt": b"two\n"})
    with pytest.raises(VersionExistsError, match="changed: assets/words.txt"):
        publisher.publish(f"{NAME}/1")
    assert publisher.publish().version == "2"


def test_nothing_is_sent_by_a_dry_run_nor_after_a_no(publisher: Publisher) -> None:
    plans: list[PublishPlan] = []

    def refuse(plan: PublishPlan) -> bool:
        plans.append(plan)
        return False

    assert publisher.publish(dry_run=True).status is PublishStatus.PLANNED
    assert publisher.publish(confirm=refuse).status is PublishStatus.DECLINED
    assert [(plan.creates, plan.version, plan.is_public) for plan in plans] == [
        (("model", "variation", "version"), "1", False)
    ]
    assert publisher.kaggle.request_names("POST|PUT") == []


def test_without_waiting_the_version_is_submitted_and_followed_by_the_next_run(publisher: Publisher) -> None:
    publisher.kaggle.processing_reads = 3
    assert publisher.publish(waits=False).status is PublishStatus.SUBMITTED
    assert publisher.publish(waits=False).status is PublishStatus.SUBMITTED
    assert publisher.publish().status is PublishStatus.PUBLISHED
    publisher.require_published_once()


def test_a_version_that_is_processed_for_too_long_is_awaited_by_the_next_run(publisher: Publisher) -> None:
    publisher.kaggle.processing_reads = 1000
    with pytest.raises(NetworkError, match="has not processed") as caught:
        publisher.publish(wait_s=0.05)
    assert "Run the command again" in caught.value.hint
    publisher.kaggle.published(NAME)[0].is_ready = True
    assert publisher.publish().version == "1"
    publisher.require_published_once()


def test_a_changed_source_is_not_called_submitted_while_an_earlier_version_is_processed(
    publisher: Publisher,
) -> None:
    publisher.kaggle.processing_reads = 1000
    publisher.publish(waits=False)
    models.write_tree(publisher.model, {"assets/words.txt": b"one\n"})
    with pytest.raises(NetworkError, match="the source has changed since"):
        publisher.publish(waits=False)
    assert len(publisher.versions) == 1


def test_a_version_of_an_earlier_run_is_not_taken_for_another_number(publisher: Publisher) -> None:
    publisher.kaggle.processing_reads = 1000
    publisher.publish(waits=False)
    publisher.kaggle.published(NAME)[0].is_ready, publisher.kaggle.processing_reads = True, 0
    assert publisher.publish(f"{NAME}/2").version == "2"
    assert publisher.versions == [publisher.files] * 2


def test_a_version_is_read_back_from_kaggle_itself(publisher: Publisher, tmp_path: Path) -> None:
    tier = tmp_path / "tier"
    tiers = (TierConfig.parse(f"{tier}?mode=read-write&private=yes", "--tier"),)
    publisher.settings = replace(publisher.settings, tiers=tiers)
    assert publisher.publish().was_compared
    assert not tier.exists()


# Asked for ----------------------------------------------------------------------------------------


def test_a_public_model_is_created_only_by_public(publisher: Publisher) -> None:
    publisher.publish(is_public=True)
    assert publisher.kaggle.models[OWNER, "mul"].is_private is False
    models.write_tree(publisher.model, {"assets/words.txt": b"one\n"})
    with pytest.raises(UsageError, match="is public") as caught:
        publisher.publish()
    assert "--public" in caught.value.hint
    assert publisher.publish(is_public=True).version == "2"


def test_a_model_that_may_be_public_gets_no_version_without_public(publisher: Publisher) -> None:
    publisher.publish()
    models.write_tree(publisher.model, {"assets/words.txt": b"one\n"})
    publisher.kaggle.models[OWNER, "mul"].overrides["isPrivate"] = (
        None  # As protobuf leaves out what is false.
    )
    with pytest.raises(UsageError, match="may be public: Kaggle does not say"):
        publisher.publish()
    assert publisher.publish(is_public=True).version == "2"


def test_a_private_model_does_not_become_public(publisher: Publisher) -> None:
    publisher.publish()
    with pytest.raises(UsageError, match="is private, and publishing a version does not change that"):
        publisher.publish(is_public=True)


def test_a_new_variation_requires_a_license(publisher: Publisher) -> None:
    with pytest.raises(UsageError, match="requires a license"):
        publisher.publish(license_name=None)
    publisher.publish()
    models.write_tree(publisher.model, {"assets/words.txt": b"one\n"})
    plans: list[PublishPlan] = []

    def accept(plan: PublishPlan) -> bool:
        plans.append(plan)
        return True

    publisher.publish(license_name=None, confirm=accept)
    assert plans[0].license_name == "Apache 2.0"


def test_without_credentials_nothing_is_sent(publisher: Publisher) -> None:
    publisher.settings = publisher.kaggle.settings(publisher.settings, token="KGAT_wrong-token")
    with pytest.raises(AuthenticationError):
        publisher.publish()
    assert publisher.kaggle.request_names("POST|PUT") == []


def test_offline_nothing_is_asked(publisher: Publisher) -> None:
    publisher.settings = replace(publisher.settings, offline=True)
    with pytest.raises(OfflineError):
        publisher.publish()
    assert publisher.kaggle.requests == []


@each_of(
    "text, framework, expected",
    [
        ("o/m/tensorFlow2/v", None, KaggleModel("o", "m", "tensorFlow2", "v")),
        ("o/m/tensorFlow2/v/3", None, KaggleModel("o", "m", "tensorFlow2", "v", "3")),
        ("o/m/v", "tensorflow1", KaggleModel("o", "m", "tensorFlow1", "v")),
        ("o/m/v/3", "tensorFlow2", KaggleModel("o", "m", "tensorFlow2", "v", "3")),
        ("https://www.kaggle.com/models/o/m/tensorFlow2/v", None, KaggleModel("o", "m", "tensorFlow2", "v")),
        ("./www/pub/model/1", None, HubPlace("./www", "pub/model", "1")),
        ("/srv/www/pub/model/2/", None, HubPlace("/srv/www", "pub/model", "2")),
        ("s3://bucket/pub/model/1", None, HubPlace("s3://bucket", "pub/model", "1")),
        ("gs://bucket/a/b/pub/model/1", None, HubPlace("gs://bucket/a/b", "pub/model", "1")),
    ],
)
def test_where_to_publish(text: str, framework: str | None, expected: object) -> None:
    assert parse_target(text, framework) == expected


@each_of(
    "text, framework, error",
    [
        ("o/m/v", None, HandleError),
        ("o/m/pytorch/v", None, HandleError),
        ("o/m/tensorFlow2/v", "tensorFlow1", UsageError),
        ("https://tfhub.dev/google/elmo/3", None, UsageError),
        ("./www/model/x", None, UsageError),
        ("./www/../model/1", None, UsageError),
        ("s3://pub/model/1", None, UsageError),
        ("./www/pub/model/1", "tensorFlow2", UsageError),
    ],
)
def test_what_is_no_place_to_publish(text: str, framework: str | None, error: type[HubcliError]) -> None:
    with pytest.raises(error) as caught:
        parse_target(text, framework)
    assert caught.value.hint


# Checked ------------------------------------------------------------------------------------------


def test_a_model_with_secrets_is_refused_before_anything_is_asked(publisher: Publisher) -> None:
    models.write_tree(publisher.model, {"assets.extra/.env": b"A=1", "assets/__pycache__/x.pyc": b""})
    result = publisher.publish()
    assert result.status is PublishStatus.REFUSED
    assert [issue.code for issue in result.issues] == ["cache-file", "secret-file"]
    assert publisher.kaggle.requests == []


def test_a_corrupt_model_is_refused(publisher: Publisher) -> None:
    shard = publisher.model / "variables/variables.data-00000-of-00001"
    shard.write_bytes(bytes([shard.read_bytes()[0] ^ 1]) + shard.read_bytes()[1:])
    result = publisher.publish()
    assert (result.status, [issue.code for issue in result.issues]) == (PublishStatus.REFUSED, ["tensor"])
    assert publisher.kaggle.requests == []


def test_a_framework_that_the_model_has_not_is_a_warning(publisher: Publisher) -> None:
    plan = publisher.publish(f"{OWNER}/mul/tensorFlow1/small", dry_run=True).plan
    assert plan is not None
    assert [issue.code for issue in plan.warnings] == ["other-framework", "no-readme"]
    assert "tensorFlow2" in plan.warnings[0].hint
