"""A Kaggle of its own on loopback: owners, models, variations, versions and files, as its API has them.

It is strict where the real one is: unknown parameters and page tokens are refused, a private model and one
that isn't there both answer 403, a model may want consent, and errors may come with the status 200. What
publishes is `fake_kaggle_uploads.Uploads`, a mixin: its routes are methods with `@route`, as here.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
import threading
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler
from typing import Any, BinaryIO, ClassVar, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit
from zlib import crc32

from hubcli.config.environment import KaggleAccount, NetworkConfig
from hubcli.config.settings import Settings
from tests.server import _QuietServer, serving

__all__ = ["Answer", "ApiRequest", "FakeKaggle", "Instance", "Model", "Version", "json_answer", "route"]

_MAX_BODY = 16 << 20
Files = Mapping[str, bytes]
_Method = TypeVar("_Method", bound=Callable[..., Any])


@dataclass
class Version:
    """The files of a version by their paths; not `is_ready` while it is processed."""

    number: int
    files: dict[str, bytes]
    notes: str = ""
    is_ready: bool = True


@dataclass
class Instance:
    """A variation."""

    framework: str
    slug: str
    license_name: str = "Apache 2.0"
    overview: str = ""
    usage: str = ""
    fine_tunable: bool = False
    training_data: list[str] = field(default_factory=list)
    versions: list[Version] = field(default_factory=list)
    overrides: dict[str, Any] = field(default_factory=dict)  # Goes over what is answered.

    @property
    def latest(self) -> Version | None:
        """The newest version that has been processed."""
        return next((version for version in reversed(self.versions) if version.is_ready), None)

    def document(self) -> dict[str, Any]:
        latest = self.latest
        files = latest.files.values() if latest else ()
        return {
            "id": crc32(self.slug.encode()),
            "slug": self.slug,
            "framework": self.framework,
            "fineTunable": self.fine_tunable,
            "overview": self.overview,
            "usage": self.usage,
            "versionNumber": latest.number if latest else 0,
            "trainingData": self.training_data,
            "licenseName": self.license_name,
            "totalUncompressedBytes": sum(map(len, files)),
            **self.overrides,
        }


@dataclass
class Model:
    """A model: `needs_consent` until the account is among those that `consented`."""

    owner: str
    slug: str
    title: str = ""
    subtitle: str = ""
    description: str = ""
    is_private: bool = False
    votes: int = 0
    update_time: str = "2024-05-06T07:08:09.123Z"
    needs_consent: bool = False
    consented: set[str] = field(default_factory=set)
    instances: list[Instance] = field(default_factory=list)
    overrides: dict[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        return {
            "id": crc32(self.slug.encode()),
            "ref": f"{self.owner}/{self.slug}",
            "title": self.title or self.slug,
            "subtitle": self.subtitle,
            "author": self.owner.title(),
            "slug": self.slug,
            "isPrivate": self.is_private,
            "description": self.description,
            "instances": [instance.document() for instance in self.instances],
            "voteCount": self.votes,
            "publishTime": self.update_time,
            "updateTime": self.update_time,
            **self.overrides,
        }


@dataclass(frozen=True)
class ApiRequest:
    """A request. `user` is None without valid credentials; `body` is still unread, of `length` bytes."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    user: str | None
    body: BinaryIO
    length: int

    def json(self) -> dict[str, Any]:
        """The body as an object; Refused where it is none."""
        try:
            document = json.loads(self.body.read(self.length))
        except ValueError:
            raise Refused(json_answer({"code": 400, "message": "Invalid JSON"}, 400)) from None
        if not isinstance(document, dict):
            raise Refused(json_answer({"code": 400, "message": "Not an object"}, 400))
        return document


@dataclass
class Answer:
    """What is answered; `is_lost` does all, and then closes the connection without an answer."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    is_lost: bool = False


class Refused(Exception):
    """A request that is answered by an error."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def json_answer(document: Any, status: int = 200, **headers: str) -> Answer:
    """The document as an answer."""
    return Answer(json.dumps(document).encode(), status, {"Content-Type": "application/json", **headers})


def refused(status: int, message: str) -> Refused:
    """The error as Kaggle sends it."""
    return Refused(json_answer({"code": status, "message": message}, status))


def route(method: str, pattern: str) -> Callable[[_Method], _Method]:
    """Has the method answer these requests: it gets `ApiRequest`, and each named group of the pattern."""

    def mark(function: _Method) -> _Method:
        function.route = (method, re.compile(pattern))  # type: ignore[attr-defined]
        return function

    return mark


_MODELS = "/api/v1/models"
_MODEL = rf"{_MODELS}/(?P<owner>[^/]+)/(?P<model>[^/]+)"
_INSTANCE = rf"{_MODEL}/(?P<framework>[^/]+)/(?P<instance>[^/]+)"
_VERSION = rf"{_INSTANCE}/(?P<version>\d+)"


class FakeKaggle:
    """The server. `tokens` are accounts by token, `keys` by user; `scripted` answers go before the routes.

    `scripted` holds a pattern of `METHOD path` with answers that are given once each, in their order;
    `lose` has patterns whose next answer is lost after all was done.
    """

    MODEL_ROUTE: ClassVar[str] = _MODEL
    INSTANCE_ROUTE: ClassVar[str] = _INSTANCE
    VERSION_ROUTE: ClassVar[str] = _VERSION

    def __init__(self) -> None:
        self.models: dict[tuple[str, str], Model] = {}
        self.tokens: dict[str, str] = {}
        self.keys: dict[str, str] = {}
        self.requests: list[ApiRequest] = []
        self.scripted: list[tuple[str, list[Answer]]] = []
        self.lose: list[str] = []
        self.lock = threading.RLock()
        self._routes = [
            (*function.route, function)
            for name in dir(type(self))
            if hasattr(function := getattr(type(self), name), "route")
        ]
        self._http = _QuietServer(("127.0.0.1", 0), self._handler())

    # State

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def add(
        self, name: str, *versions: Files, model: Mapping[str, Any] | None = None, **instance: Any
    ) -> Instance:
        """A variation `owner/model/framework/slug` with versions 1, 2, …; a new model is made."""
        owner, slug, framework, variation = name.split("/")
        held = self.models.setdefault((owner, slug), Model(owner, slug))
        for key, value in (model or {}).items():
            setattr(held, key, value)
        added = Instance(framework, variation, **instance)
        added.versions = [Version(number, dict(files)) for number, files in enumerate(versions, 1)]
        held.instances.append(added)
        return added

    def script(self, pattern: str, *answers: Answer) -> None:
        """Answers given once each, before any other, to requests whose `METHOD path` has the pattern."""
        self.scripted.append((pattern, list(answers)))

    def settings(self, settings: Settings, **account: Any) -> Settings:
        """The settings with this server for Kaggle, and these credentials."""
        return replace(settings, access=NetworkConfig(kaggle=KaggleAccount(endpoint=self.url, **account)))

    def request_names(self, pattern: str = "") -> list[str]:
        """`METHOD path` of the requests that came, in their order."""
        names = [f"{request.method} {request.path}" for request in self.requests]
        return [name for name in names if re.search(pattern, name)]

    # Reading

    @route("GET", rf"{_MODELS}/list")
    def list_models(self, request: ApiRequest) -> Answer:
        query = self._known(request, "search", "sortBy", "owner", "pageSize", "pageToken", "onlyVertexModels")
        words = query.get("search", "").lower().split()
        sort = query.get("sortBy", "")
        if sort and not re.fullmatch(r"LIST_MODELS_ORDER_BY_[A-Z_]+|hotness|[a-z]+(Count|Time)", sort):
            raise refused(400, "Invalid sortBy")
        found = [
            model
            for model in self.models.values()
            if not (model.is_private and request.user != model.owner)
            and query.get("owner", model.owner) == model.owner
            and all(word in f"{model.slug} {model.title} {model.subtitle}".lower() for word in words)
        ]
        if sort.endswith("VOTE_COUNT"):
            found.sort(key=lambda model: -model.votes)
        page, token = self._page(query, found)
        document: dict[str, Any] = {
            "models": [model.document() for model in page],
            "totalResults": len(found),
        }
        return json_answer({**document, "nextPageToken": token})

    @route("GET", rf"{_MODEL}/get")
    def get_model(self, request: ApiRequest, owner: str, model: str) -> Answer:
        return json_answer(self.model(request, owner, model).document())

    @route("GET", rf"{_MODEL}/list")
    def list_instances(self, request: ApiRequest, owner: str, model: str) -> Answer:
        held = self.model(request, owner, model)
        page, token = self._page(self._known(request, "pageSize", "pageToken"), held.instances)
        return json_answer({"instances": [item.document() for item in page], "nextPageToken": token})

    @route("GET", rf"{_INSTANCE}/get")
    def get_instance(self, request: ApiRequest, **names: str) -> Answer:
        return json_answer(self.instance(request, **names).document())

    @route("GET", rf"{_INSTANCE}/list")
    def list_versions(self, request: ApiRequest, **names: str) -> Answer:
        held = self.instance(request, **names)
        ready = [version for version in reversed(held.versions) if version.is_ready]
        page, token = self._page(self._known(request, "pageSize", "pageToken"), ready)
        versions = [
            {
                "versionNumber": version.number,
                "framework": held.framework,
                "variationSlug": held.slug,
                "ownerSlug": names["owner"],
                "modelSlug": names["model"],
                "url": "/models/" + "/".join([*names.values(), str(version.number)]),
            }
            for version in page
        ]
        return json_answer({"versionList": {"versions": versions}, "nextPageToken": token})

    @route("GET", rf"{_VERSION}/files")
    def list_files(self, request: ApiRequest, **names: str) -> Answer:
        files = sorted(self.version(request, **names).files.items())
        page, token = self._page(self._known(request, "pageSize", "pageToken"), files)
        created = self.model(request, names["owner"], names["model"]).update_time
        listed = [{"name": name, "size": len(data), "creationDate": created} for name, data in page]
        return json_answer({"files": listed, "nextPageToken": token})

    @route("GET", rf"{_VERSION}/download/(?P<path>.+)")
    def download_file(self, request: ApiRequest, path: str, **names: str) -> Answer:
        self._require_consent(request, names)
        data = self.version(request, **names).files.get(path)
        if data is None:
            raise refused(404, "File not found")
        return Answer(data, headers={"Content-Type": "application/octet-stream"})

    @route("GET", rf"{_VERSION}/download")
    def download(self, request: ApiRequest, **names: str) -> Answer:
        self._require_consent(request, names)
        data = _tar_gz(self.version(request, **names).files)
        return Answer(data, headers={"Content-Type": "application/x-gzip"})

    # What routes share

    def model(self, request: ApiRequest, owner: str, model: str) -> Model:
        """The model, where the account may see it; 403 else, as for one that isn't there."""
        held = self.models.get((owner, model))
        if held is None or (held.is_private and request.user != owner):
            raise refused(403, "Permission 'models.get' was denied")
        return held

    def instance(
        self, request: ApiRequest, owner: str, model: str, framework: str, instance: str
    ) -> Instance:
        """The variation; frameworks in any case."""
        for held in self.model(request, owner, model).instances:
            if (held.framework.lower(), held.slug) == (framework.lower(), instance):
                return held
        raise refused(404, "Model instance not found")

    def version(self, request: ApiRequest, version: str, **names: str) -> Version:
        """A version that has been processed."""
        for held in self.instance(request, **names).versions:
            if held.number == int(version) and held.is_ready:
                return held
        raise refused(404, "Version not found")

    def _require_consent(self, request: ApiRequest, names: Mapping[str, str]) -> None:
        model = self.model(request, names["owner"], names["model"])
        if model.needs_consent and request.user not in model.consented:
            raise refused(403, f"You must consent to the license of {model.owner}/{model.slug}")

    @staticmethod
    def _known(request: ApiRequest, *names: str) -> dict[str, str]:
        if unknown := set(request.query) - set(names):
            raise refused(400, f"Unknown parameters: {', '.join(sorted(unknown))}")
        return request.query

    @staticmethod
    def _page(query: Mapping[str, str], items: list[Any]) -> tuple[list[Any], str]:
        size, token = query.get("pageSize", "20"), query.get("pageToken", "at-0")
        if not size.isdecimal() or not int(size) or not re.fullmatch(r"at-\d+", token):
            raise refused(400, "Invalid page")
        start = int(token[3:])
        end = start + min(int(size), 100)
        return items[start:end], f"at-{end}" if end < len(items) else ""

    # Serving

    @contextmanager
    def running(self) -> Iterator[FakeKaggle]:
        """Serves as long as the context lasts."""
        with serving(self._http):
            yield self

    def answer(self, request: ApiRequest) -> Answer:
        """What is answered: a scripted answer, else the first route's that fits."""
        name = f"{request.method} {request.path}"
        with self.lock:
            self.requests.append(request)
            for pattern, answers in self.scripted:
                if answers and re.search(pattern, name):
                    return answers.pop(0)
        try:
            found = self._routed(request)
        except Refused as error:
            found = error.answer
        with self.lock:
            lost = next((pattern for pattern in self.lose if re.search(pattern, name)), None)
            if lost is not None:
                self.lose.remove(lost)
                found = replace(found, is_lost=True)
        return found

    def _routed(self, request: ApiRequest) -> Answer:
        if request.headers.get("authorization") and request.user is None and self.tokens | self.keys:
            raise refused(401, "Unauthenticated")
        for method, pattern, function in self._routes:
            found = pattern.fullmatch(request.path)
            if found is not None and method == request.method:
                names = {name: unquote(text) for name, text in found.groupdict().items()}
                answer: Answer = function(self, request, **names)
                return answer
        raise refused(404, "Not found")

    def user_of(self, authorization: str) -> str | None:
        """The account of the header, None where it is nobody's."""
        scheme, _, value = authorization.partition(" ")
        if scheme == "Bearer":
            return self.tokens.get(value)
        try:
            user, _, key = b64decode(value).decode().partition(":")
        except ValueError:
            return None
        return user if scheme == "Basic" and key and self.keys.get(user) == key else None

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        kaggle = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # Head and body are two writes: the second would wait 40 ms.

            def _do(self) -> None:
                parts = urlsplit(self.path)
                headers = {name.lower(): value for name, value in self.headers.items()}
                length = int(headers.get("content-length", "0"))
                query = dict(parse_qsl(parts.query, keep_blank_values=True))
                user = kaggle.user_of(headers.get("authorization", ""))
                body = _Body(self.rfile, length)
                request = ApiRequest(self.command, parts.path, query, headers, user, body, length)  # type: ignore[arg-type]
                try:
                    answer = kaggle.answer(request)
                    body.drain()
                except OSError:
                    self.close_connection = True
                    return
                if answer.is_lost:
                    self.close_connection = True
                    return
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            do_GET = do_POST = do_PUT = do_DELETE = _do  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        return Handler


class _Body:
    """The body of a request, which a route may leave unread; cut short where the client went away."""

    def __init__(self, file: Any, length: int) -> None:
        self._file, self._left = file, length

    def read(self, size: int = -1) -> bytes:
        count = self._left if size < 0 else min(size, self._left)
        data: bytes = self._file.read(count) if count else b""
        self._left -= len(data)
        if len(data) < count:
            self._left = 0  # Nothing more comes.
        return data

    def drain(self) -> None:
        while self._left:
            self.read(1 << 16)


def _tar_gz(files: Files) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as archive:
        for name, data in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return packed.getvalue()
