"""What every test starts from: a clean environment, a cache of its own, a real server."""

from __future__ import annotations

import gc
import importlib
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from pathlib import Path

import hypothesis
import pytest
import trustme
from _pytest.runner import runtestprotocol

from hubcli import durability, urls
from hubcli.config.settings import Settings
from hubcli.net import download, retries
from hubcli.tf import run_child
from tests.bucket_proxy import BucketProxy, running_bucket_proxy
from tests.bucket_servers import BucketServer, running_azurite, running_gcs, running_moto
from tests.forkserver import run_python, runner_servers, start_tensorflow_ahead, wait_for_tensorflow
from tests.proxy import Proxy, running_proxy
from tests.server import HubServer
from tests.tls import https_server

ROOT = Path(__file__).parent.parent
_numbers = itertools.count()
_MEMORY, _NEEDED_BYTES = Path("/dev/shm").resolve(), 4 << 30
_HAS_FAILED = pytest.StashKey[bool]()
# Of the person's own environment: settings, addresses and credentials.
_OTHERS_VARIABLES = (
    *("HUBCLI_", "TFHUB_", "KAGGLE", "NETRC"),
    *("AWS_", "AZURE_", "GOOGLE_", "GCS_", "CLOUDSDK_", "STORAGE_EMULATOR_HOST"),
)

# Each run takes other examples, and the gate more of them on one other Python, by --hypothesis-profile.
# Without a deadline, since other work on the machine makes any example slow.
hypothesis.settings.register_profile("quick", max_examples=25, deadline=None)
hypothesis.settings.register_profile("thorough", max_examples=50, deadline=None, print_blob=True)
hypothesis.settings.load_profile("quick")


def _collect_garbage_seldom() -> None:
    """Most objects are freed at once, or stay to the end, as collected tests and their modules do."""
    gc.enable()
    gc.set_threshold(50_000, 20, 20)


# NumPy's library would start a thread a processor, which spins for 0.1 s in each process that imports it.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Before tests are imported: with Python's own threshold a third of the collection looks for garbage.
_collect_garbage_seldom()


def pytest_configure(config: pytest.Config) -> None:
    """Keeps the directories of quick tests in memory, where it has space: a file costs a hundredth there.

    Slow tests, which kill and race, work on a disk; and so do all where PYTEST_DEBUG_TEMPROOT names one.
    """
    is_quick = "not slow" in str(config.getoption("markexpr"))
    if is_quick and not hasattr(config, "workerinput") and _is_usable(_MEMORY):
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))


def _is_usable(folder: Path) -> bool:
    """Whether tests can write there what a run needs at a time, and run programs."""
    if sys.platform != "linux" or not os.access(folder, os.W_OK):
        return False
    facts = os.statvfs(folder)
    return not facts.f_flag & os.ST_NOEXEC and facts.f_bavail * facts.f_frsize >= _NEEDED_BYTES


def pytest_xdist_auto_num_workers() -> int:
    """Half as many again as there are processors: tests wait for servers, processes and clocks."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return processors + processors // 2


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what takes too long for the gate, of slow tests too, unless `-m` asks for it, for an hour.

    What needs TensorFlow comes first, and so goes to the first worker. The others import TensorFlow, in five
    seconds of a processor, only if they have nothing else left, and take some of these tests.
    """
    items.sort(key=lambda item: item.get_closest_marker("tensorflow") is None)
    soaked = [item for item in items if item.get_closest_marker("soak")]
    if "soak" in str(config.getoption("markexpr")):
        for item in soaked:
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(3600))
        return
    if soaked:
        config.hook.pytest_deselected(items=soaked)
        items[:] = [item for item in items if not item.get_closest_marker("soak")]


def pytest_collection(session: pytest.Session) -> None:
    """Each worker first imports a share of the tests, and the rest when the others have compiled theirs.

    Where an earlier run left no bytecode, a worker compiles all tests in 12 s, and imports them in 3.
    """
    worker = getattr(session.config, "workerinput", None)
    if worker is None or [Path(argument).resolve() for argument in session.config.args] != [ROOT / "tests"]:
        return
    if not _selects_few(session.config):
        start_tensorflow_ahead()
    files = sorted((ROOT / "tests").rglob("test_*.py"), key=lambda path: path.stat().st_size)
    number, count = int(worker["workerid"].removeprefix("gw")), worker["workercount"]
    for path in files[number::count]:
        # What it raises, collection shows.
        with suppress(Exception, pytest.skip.Exception):
            importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))


def _selects_few(config: pytest.Config) -> bool:
    """Whether it may be that no test needs TensorFlow."""
    options = ("keyword", "lf", "stepwise", "collectonly")
    return "not tensorflow" in str(config.getoption("markexpr")) or any(
        config.getoption(name, None) for name in options
    )


def pytest_collection_finish() -> None:
    """Thousands of tests, and later TensorFlow, make a full collection of garbage take half a second."""
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Enables garbage collection, which a command may have disabled; waits for TensorFlow's server."""
    if "tensorflow" not in sys.modules and item.get_closest_marker("tensorflow"):
        wait_for_tensorflow()
    _collect_garbage_seldom()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Reports only the call of a test that passes: the controller handles each report, for all workers."""
    # `--durations` and `--junit-xml` show what is in the other reports.
    needs_all = any(item.config.getoption(name, None) is not None for name in ("durations", "xmlpath"))
    if needs_all or not hasattr(item.config, "workerinput"):
        return None
    # tools.test_times has all that it measured in the last report.
    phases = ("call", "teardown") if item.config.getoption("times", None) else ("call",)
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    # Private, but what plugins that rerun tests call, too: no public hook keeps a report back.
    for report in runtestprotocol(item, log=False, nextitem=nextitem):
        if report.when in phases or not report.passed:
            item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Notes whether the test has failed, for `tmp_path`."""
    report = yield
    item.stash[_HAS_FAILED] = report.failed
    return report


@pytest.fixture(autouse=True, scope="module")
def _frozen_objects() -> Iterator[None]:
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A new directory. In memory it stays only if the test fails.

    pytest's own lists all earlier ones and moves a link, which takes 1 to 5 ms a test.
    """
    path = tmp_path_factory.getbasetemp() / f"test-{next(_numbers)}"
    path.mkdir(mode=0o700)
    yield path
    if path.is_relative_to(_MEMORY) and not request.node.stash.get(_HAS_FAILED, True):
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(autouse=True)
def without_syncs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits for no disk in this process. Tests of durability override this fixture with an empty one."""
    monkeypatch.setattr(durability, "_sync", lambda descriptor: None)


@pytest.fixture(autouse=True)
def _clean_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    for name in list(os.environ):
        if name.startswith(_OTHERS_VARIABLES) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    # No test asks a cloud's metadata server for credentials.
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    for name in (
        "NO_COLOR",
        "FORCE_COLOR",
        "CLICOLOR",
        "CLICOLOR_FORCE",
        "XDG_CONFIG_HOME",
        "XDG_CACHE_HOME",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    # Keras writes a file there when it is imported, which may be in any test.
    monkeypatch.setenv("KERAS_HOME", str(tmp_path_factory.getbasetemp() / "keras"))
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    # Secrets of earlier tests, of which there are thousands, would be looked for in each text of this one.
    monkeypatch.setattr(urls, "_remembered", {})
    # What is tried again in this process is tried at once.
    monkeypatch.setattr(retries, "FIRST_WAIT_S", 0.001)
    # What takes long is begun at once as if it did.
    monkeypatch.setattr(download, "QUICK_S", 0.0)
    # Width and kind of terminal decide what rich prints.
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm-256color")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Where the cache of this test is, or will be."""
    return tmp_path / "cache"


@pytest.fixture
def settings(cache: Path) -> Settings:
    return Settings.read({}, cache_dir=cache, timeout_s=60, lock_timeout_s=60)


@pytest.fixture
def server() -> Iterator[HubServer]:
    with HubServer().running() as running:
        yield running


@pytest.fixture
def other_server() -> Iterator[HubServer]:
    """A second origin."""
    with HubServer().running() as running:
        yield running


@pytest.fixture
def authority() -> trustme.CA:
    """An authority that the system doesn't know, as a company has one."""
    return trustme.CA()


@pytest.fixture
def bundle(authority: trustme.CA, tmp_path: Path) -> Path:
    """The file with its certificate."""
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture
def secure(authority: trustme.CA) -> Iterator[HubServer]:
    """A server that the authority vouches for."""
    with https_server(authority) as running:
        yield running


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with running_proxy() as running:
        yield running


@pytest.fixture(scope="session")
def s3_server() -> Iterator[BucketServer]:
    """moto, one for all tests of a worker: each takes a bucket of its own."""
    with running_moto() as running:
        yield running


@pytest.fixture(scope="session")
def azure_server() -> Iterator[BucketServer]:
    """Azurite, one for all tests of a worker; 1.5 s, so its tests are slow ones."""
    with running_azurite() as running:
        yield running


@pytest.fixture(scope="session")
def gcs_server() -> Iterator[BucketServer]:
    """Our own server of Google's XML API, one for all tests of a worker."""
    with running_gcs() as running:
        yield running


@pytest.fixture
def s3_proxy(s3_server: BucketServer) -> Iterator[BucketProxy]:
    """A proxy before moto that fails where a test asks it to."""
    with running_bucket_proxy(s3_server.url) as running:
        yield running


@pytest.fixture
def forked_runners(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forks the processes in which this process runs models by TensorFlow's library."""
    from tests.forked_runners import ForkedRunners

    monkeypatch.setattr(run_child, "start_process", ForkedRunners(runner_servers()))


Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def hubcli(cache: Path, request: pytest.FixtureRequest) -> Run:
    """Runs `hubcli ARGUMENTS…` as a process of its own, on this test's cache.

    It is forked, and so are the processes in which it runs models: HUBCLI_TEST_FORKS=0 starts interpreters.
    """
    needs_tensorflow = request.node.get_closest_marker("tensorflow") is not None

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "HUBCLI_CACHE_DIR": str(cache), **variables}
        command = ["-m", "hubcli", *arguments]
        # `hubcli run` has the model run in a process of its own, and imports no TensorFlow.
        imports_it = needs_tensorflow and arguments[:1] != ("run",)
        return run_python(
            command,
            env=environment,
            timeout=120,
            with_tensorflow=imports_it,
            with_runners=needs_tensorflow,
        )

    return run
