"""The half of the fake Kaggle that publishes: blobs, models, variations and versions, and kagglehub's calls.

It refuses what the real one does, and notes in `violations` what no client may do: send credentials to the
storage, use the token of an incomplete blob, write at a wrong offset, create what somebody else just created.
Sources: kagglesdk 0.1.38, kagglehub 1.0.3; Google Cloud Storage's documentation of resumable uploads.
"""

from __future__ import annotations

import re
import secrets
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from tests.fake_kaggle import (
    Answer,
    ApiRequest,
    FakeKaggle,
    Instance,
    Model,
    Version,
    json_answer,
    refused,
    route,
)

__all__ = ["OWNER", "TOKEN", "Blob", "FakeKaggleUploads"]

TOKEN, OWNER = "KGAT_publisher-s3cret", "publisher"
_STORAGE = "/upload/storage/v1/b/kaggle-models/o"
_FRAMEWORKS = {"MODEL_FRAMEWORK_TENSOR_FLOW_1": "tensorFlow1", "MODEL_FRAMEWORK_TENSOR_FLOW_2": "tensorFlow2"}
_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,48}[a-z0-9])?")
_GRANULE_BYTES = 256 << 10  # A piece that isn't the last is a multiple of it.
_PROXIED = "http://localhost"  # kagglehub, told that Kaggle is there, comes by way of a proxy.


@dataclass
class Blob:
    """An upload: its bytes so far. A session that expired answers 404, and its token stays worthless."""

    name: str
    size_bytes: int
    data: bytearray = field(default_factory=bytearray)
    is_complete: bool = False
    is_expired: bool = False


class FakeKaggleUploads(FakeKaggle):
    """The routes. `faults` are by step, one a request: what befalls it.

    Steps: blob, put, status, model, variation, version. Faults: `lose-answer` does what is asked and closes
    the connection, `lose-request` closes it at once, `cut` takes half of a piece and closes, `expire` ends
    the session, `ahead` claims bytes that never came, `error` is 200 with an error in it, a number is that
    status, and `race` lets somebody else publish a version just before. A version is processed once its
    variation was looked at `processing_reads` times.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tokens[TOKEN] = OWNER
        self.blobs: dict[str, Blob] = {}
        self.sessions: dict[str, Blob] = {}
        self.faults: defaultdict[str, list[str]] = defaultdict(list)
        self.violations: list[str] = []
        self.processing_reads = 0
        self.tells_notes = False
        self.session_root = ""
        self._reads_left: dict[int, int] = {}  # By id of a version that is processed.

    def expire_sessions(self) -> None:
        """What happens after a week."""
        for blob in self.blobs.values():
            blob.is_expired = not blob.is_complete

    def published(self, name: str) -> list[Version]:
        """Every version of `owner/model/framework/variation`, whether it can be seen or not."""
        owner, slug, framework, variation = name.split("/")
        held = self.models.get((owner, slug))
        found = [
            item
            for item in (held.instances if held else ())
            if (item.framework, item.slug) == (framework, variation)
        ]
        return found[0].versions if found else []

    # Blobs

    @route("POST", "/api/v1/blobs/upload")
    def start_blob(self, request: ApiRequest) -> Answer:
        body = self._body(request)
        size = body.get("contentLength")
        if body.get("type") != "MODEL" or "/" in body.get("name", "/") or not isinstance(size, int):
            raise refused(400, "Not a blob of a model")

        def start() -> Answer:
            token, session = f"blob-{secrets.token_hex(8)}", secrets.token_hex(16)
            self.blobs[token] = self.sessions[session] = Blob(body["name"], size)
            root = self.session_root or self.url
            address = f"{root}{_STORAGE}?uploadType=resumable&upload_id={session}"
            return json_answer({"token": token, "createUrl": address})

        return self._under_faults("blob", start)

    @route("PUT", _STORAGE)
    def put(self, request: ApiRequest) -> Answer:
        if "authorization" in request.headers:
            self.violations.append("sent credentials to the storage")
        blob = self.sessions.get(request.query.get("upload_id", ""))
        content_range = request.headers.get("content-range", "")
        is_question = content_range.startswith("bytes */")
        data = request.body.read(request.length)

        def put() -> Answer:
            if blob is None or blob.is_expired:
                return Answer(status=404)
            return self._write(blob, content_range, data)

        fault = self._fault("status" if is_question else "put")
        if blob is not None and fault == "expire":
            blob.is_expired = True
        if blob is not None and fault == "ahead":
            return Answer(status=308, headers={"Range": f"bytes=0-{blob.size_bytes + 5}"})
        is_cut = len(data) < request.length  # The client is gone: what came of its piece stays.
        if blob is not None and (fault == "cut" or is_cut) and not blob.is_expired:
            kept_bytes = len(data) // (1 if is_cut else 2) // _GRANULE_BYTES * _GRANULE_BYTES
            if kept_bytes and content_range:
                start = int(content_range.split()[1].partition("-")[0])
                blob.data[start:] = data[:kept_bytes]
            return Answer(is_lost=True)
        return self._befallen(fault, put)

    def _write(self, blob: Blob, content_range: str, data: bytes) -> Answer:
        """Takes a piece, or answers the question how much has come."""
        found = re.fullmatch(r"bytes (?:\*|(\d+)-(\d+))/(\d+)", content_range)
        total = int(found[3]) if found else len(data)
        if total != blob.size_bytes:
            return Answer(status=400)
        if found is None or found[1] is not None:
            start = int(found[1]) if found else 0
            end = start + len(data)
            is_partial = found is not None and end < total and len(data) % _GRANULE_BYTES
            is_misplaced = start > len(blob.data) or (found is not None and end != int(found[2]) + 1)
            if is_partial or is_misplaced or blob.is_complete:
                self.violations.append(f"{blob.name}: {content_range} where there are {len(blob.data)} bytes")
                return Answer(status=400)
            blob.data[start:] = data
        if len(blob.data) == blob.size_bytes and (found is None or found[1] or blob.is_complete):
            blob.is_complete = True
        if blob.is_complete:
            return Answer()
        return Answer(status=308, headers={"Range": f"bytes=0-{len(blob.data) - 1}"} if blob.data else {})

    # Creations

    @route("POST", "/api/v1/models/create/new")
    def create_model(self, request: ApiRequest) -> Answer:
        body = self._body(request)
        owner, slug, title = body.get("ownerSlug", ""), body.get("slug", ""), body.get("title", "")
        if owner != request.user:
            raise refused(403, "Permission 'models.create' was denied")
        if not _SLUG.fullmatch(slug) or not 0 < len(title) <= 50 or not isinstance(body["isPrivate"], bool):
            raise refused(400, "Invalid slug or title")

        def create() -> Answer:
            if (owner, slug) in self.models:
                return json_answer({"code": 409, "message": "The model exists"}, 409)
            added = Model(owner, slug, title, description=body.get("description", ""))
            added.is_private = body["isPrivate"]
            self.models[owner, slug] = added
            return json_answer({"id": 1, "ref": f"{owner}/{slug}", "url": f"/models/{owner}/{slug}"})

        return self._under_faults("model", create)

    @route("POST", FakeKaggle.MODEL_ROUTE + "/create/instance")
    def create_instance(self, request: ApiRequest, owner: str, model: str) -> Answer:
        body = self._body(request)
        held = self.model(request, owner, model)
        framework = _FRAMEWORKS.get(body.get("framework", ""))
        slug = body.get("instanceSlug", "")
        if framework is None or not _SLUG.fullmatch(slug) or not body.get("licenseName"):
            raise refused(400, "Invalid framework, slug or license")

        def create() -> Answer:
            if self.published(f"{owner}/{model}/{framework}/{slug}"):
                return json_answer({"code": 409, "message": "The variation exists"}, 409)
            files = self._files(body)
            added = Instance(framework, slug, body["licenseName"], usage=body.get("usage", ""))
            held.instances.append(added)
            return self._add_version(added, files, "")

        return self._under_faults("variation", create, owner, model, framework, slug)

    @route("POST", FakeKaggle.INSTANCE_ROUTE + "/create/version")
    def create_version(self, request: ApiRequest, **names: str) -> Answer:
        body = self._body(request)
        held = self.instance(request, **names)

        def create() -> Answer:
            return self._add_version(held, self._files(body), body.get("versionNotes", ""))

        return self._under_faults("version", create, *names.values())

    def _add_version(self, held: Instance, files: dict[str, bytes], notes: str) -> Answer:
        added = Version(len(held.versions) + 1, files, notes, is_ready=not self.processing_reads)
        self._reads_left[id(added)] = self.processing_reads
        held.versions.append(added)
        return json_answer({"id": 1, "ref": "", "url": ""})

    def _files(self, body: Mapping[str, Any], prefix: str = "") -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for file in body.get("files", []):
            blob = self.blobs.get(file["token"])
            if blob is None or not blob.is_complete:
                self.violations.append("used the token of an incomplete blob")
                raise refused(400, "Incomplete blob")
            found[prefix + blob.name] = bytes(blob.data)
        for folder in body.get("directories", []):
            found |= self._files(folder, f"{prefix}{folder['name']}/")
        return found

    # Reading

    def instance(
        self, request: ApiRequest, owner: str, model: str, framework: str, instance: str
    ) -> Instance:
        """Each look brings versions that are processed nearer to their end."""
        held = super().instance(request, owner, model, framework, instance)
        with self.lock:
            for version in held.versions if request.path.endswith("/get") else ():
                if not version.is_ready:
                    self._reads_left[id(version)] -= 1
                    version.is_ready = self._reads_left[id(version)] < 0
            if self.tells_notes and held.latest is not None:
                held.overrides["versionNotes"] = held.latest.notes
        return held

    @route("POST", r"/api/v1/models\.ModelApiService/(?P<call>\w+)")
    def call(self, request: ApiRequest, call: str) -> Answer:
        """What kagglesdk, and so kagglehub, asks for."""
        body = self._body(request)
        names = {
            "owner": body["ownerSlug"],
            "model": body["modelSlug"],
            "framework": _FRAMEWORKS[body["framework"]],
            "instance": body["instanceSlug"],
        }
        request = replace(
            request, query={key: str(body[key]) for key in ("pageSize", "pageToken") if body.get(key)}
        )
        if call == "GetModelInstance":
            document = self.instance(request, **names).document()
            return json_answer({**document, "framework": body["framework"]})
        names["version"] = str(body["versionNumber"])
        if call == "ListModelInstanceVersionFiles":
            return self.list_files(request, **names)
        if call == "DownloadModelInstanceVersion":
            path = body.get("path")
            return self.download_file(request, path, **names) if path else self.download(request, **names)
        raise refused(404, "No such call")

    def answer(self, request: ApiRequest) -> Answer:
        """Also what comes by way of a proxy, with scheme and host."""
        if request.path.startswith(_PROXIED):
            request = replace(request, path=urlsplit(request.path).path)
        return super().answer(request)

    # Faults

    def _body(self, request: ApiRequest) -> dict[str, Any]:
        if request.user is None:
            raise refused(401, "Unauthenticated")
        return request.json()

    def _fault(self, step: str) -> str:
        with self.lock:
            return self.faults[step].pop(0) if self.faults[step] else ""

    def _under_faults(self, step: str, act: Any, *names: str) -> Answer:
        fault = self._fault(step)
        if fault == "race":
            held = self.models[names[0], names[1]]
            found = [item for item in held.instances if (item.framework, item.slug) == names[2:]]
            if not found:
                held.instances.append(Instance(names[2], names[3]))
                found = held.instances[-1:]
            found[0].versions.append(Version(len(found[0].versions) + 1, {"saved_model.pb": b"another"}))
        return self._befallen(fault, act)

    def _befallen(self, fault: str, act: Any) -> Answer:
        if fault == "lose-request":
            return Answer(is_lost=True)
        if fault.isdecimal():
            return Answer(status=int(fault), headers={"Retry-After": "0"})
        if fault == "error":
            return json_answer({"error": "Quota exceeded", "errorCode": 400})
        with self.lock:
            answer: Answer = act()
        return replace(answer, is_lost=fault == "lose-answer")
