"""The entry point, and all that saves milliseconds at each start, with its reason and its gain.

Processor time, the least of 15 to 20 runs, on a machine where Python starts in 10 ms and
`import typer` takes 55 more:

- `--version` is answered before anything is imported: 11 ms instead of 75.
- Names that a command needs only once it runs are imported when they are first used (`LazyImports`).
  `--help` and usage errors load none of them: 19 ms for `pin`, 42 for `fetch`, 170 where that uses HTTP.
- One command is built for a run instead of eleven (`hubcli.cli.app.app_of`): 33 ms. For a usage error the
  others are there by their names alone, and options are known from what completion has: 60 ms.
- Garbage collection is off while modules load, and at exit (`disable_garbage_collection`): 13 ms.
- What TensorFlow has loaded is left out of collections (`freeze_loaded_objects`): 1.5 s of a training.
- Help is rendered without rich's Markdown and tracebacks, which it never shows (`DeferredClasses`): 30 ms.
- The process in which `run` has TensorFlow is started before anything else, on another core: 80 ms.
- What Typer imports for what hubcli doesn't use of it is imported when it is used: 9 ms.
- Groups of options are named tuples, each of which takes 0.07 ms to define, and a dataclass 0.6: 1 ms.
- Annotations of named tuples are left as text (`_leave_annotations_as_text`): 3 ms of `inspect`.
- A process that has nothing left to do ends at once (`run_and_exit`), without freeing each object: 3 ms.
- `TYPE_CHECKING = False` here, in `hubcli` and in `hubcli._moved` saves the import of `typing`: 11 ms.
"""

from __future__ import annotations

import sys

from hubcli import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import Any, NoReturn

__all__ = [
    "DeferredClasses",
    "LazyImports",
    "disable_garbage_collection",
    "freeze_loaded_objects",
    "main",
    "reduce_garbage_collection",
    "repeat_lost_interrupt",
    "restore_garbage_collection",
    "run_and_exit",
]


def run_and_exit() -> NoReturn:
    """What the script `hubcli` does: run the command line and end the process."""
    status = main()
    if _has_nothing_left_to_do():
        import os

        os._exit(status)
    sys.exit(status)


def _has_nothing_left_to_do() -> bool:
    """Whether Python's own way to end the process would do nothing but free memory; flushes the streams.

    Else it calls what libraries registered (logging, temporary directories, multiprocessing, coverage), waits
    for threads, tells a profiler or a debugger, stays interactive, reports what can't be flushed, or warns.
    """
    import atexit

    count, threads = getattr(atexit, "_ncallbacks", None), sys.modules.get("threading")
    if count is None or count() > _exit_freeze.is_registered or (threads and threads.active_count() > 1):
        return False
    monitoring = getattr(sys, "monitoring", None)  # Where profilers of Python 3.12 are.
    has_tools = monitoring is not None and any(map(monitoring.get_tool, range(6)))
    if has_tools or sys.gettrace() or sys.getprofile() or sys.flags.inspect or sys.warnoptions:
        return False
    try:
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
    except (OSError, ValueError):
        return False
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit status of the process."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    if argv in (["--version"], ["-V"]) and _is_written(f"hubcli {__version__}\n"):
        return 0
    if argv[:1] == ["__complete"]:  # What a shell asks for at each TAB.
        from hubcli.cli.model_words import print_model_words

        return print_model_words(argv[1:])
    disable_garbage_collection()
    if arguments is None:
        sys.unraisablehook = repeat_lost_interrupt
    try:
        if argv[:1] == ["run"] and "--dry-run" not in argv:  # Which is quicker without the import.
            from hubcli.tf.run_child import start_ahead

            start_ahead(argv[1:])
        _leave_annotations_as_text()
        with DeferredClasses(_UNUSED_BY_TYPER):
            import urllib.parse  # noqa: F401 - Typer imports it too, but not on Python 3.13

            import typer  # noqa: F401
        from hubcli.cli.entrypoint import run

        status = run(argv)
    except KeyboardInterrupt:  # While modules load: from then on, `run` handles signals.
        status = _report_interrupt(argv)
    from hubcli.exit_status import ExitStatus

    if status == ExitStatus.INTERRUPTED:
        # Python marks an interrupt that comes within an `exec`, as dataclasses have it, as unhandled: of
        # `python -m hubcli` the status would be the signal's. Another `exec` takes the mark away.
        exec("")  # noqa: S102
    return status


# What Typer imports to suggest and translate words, to open a browser, to find the shell and to show errors,
# and what modules that it imports need for addresses in IPv6 and for source code: no run needs it.
_UNUSED_BY_TYPER = {"difflib": "get_close_matches", "gettext": "gettext", "shutil": "get_terminal_size"}
_UNUSED_BY_TYPER |= {"traceback": "FrameSummary StackSummary", "uuid": "UUID"}
_UNUSED_BY_TYPER |= dict.fromkeys(("ipaddress", "platform", "subprocess", "tokenize"), "")
_AGAIN_S = 0.05


def repeat_lost_interrupt(unraisable: Any) -> None:
    """The hook for errors that Python drops, as those within callbacks of imports: an interrupt comes again.

    Without it the command would go on, and signals would be ignored as if it were cleaning up.
    """
    import signal
    import threading

    is_signal = threading.current_thread() is threading.main_thread() and hasattr(signal, "pthread_kill")
    if unraisable.exc_type is not KeyboardInterrupt or not is_signal:
        sys.__unraisablehook__(unraisable)
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # The signal goes to this thread, and ends its wait.
    again = threading.Timer(_AGAIN_S, signal.pthread_kill, (threading.get_ident(), signal.SIGINT))
    again.daemon = True
    again.start()


def _report_interrupt(argv: Sequence[str]) -> int:
    """Prints the error, as a command does, and returns the exit status."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from hubcli.cli.output import Output, error_document
    from hubcli.errors import Interrupted

    error, output = Interrupted("Interrupted"), Output(as_json="--json" in argv)
    output.error(error)
    if output.as_json:
        output.document({"error": error_document(error)})
    return int(error.exit_status)


def _leave_annotations_as_text() -> None:
    """Has `typing.NamedTuple` keep the annotations of hubcli's named tuples as the text that they are.

    It would compile each, and mypy has done so: an inspection has seventy of these classes with 270 fields.
    Python 3.14 doesn't before somebody asks for annotations.
    """
    import typing
    from collections import namedtuple

    make, make_class = getattr(typing, "_make_nmtuple", None), typing.cast("Any", namedtuple)
    if make is None or make.__module__ == __name__ or sys.version_info >= (3, 14):
        return

    def make_own(
        name: str, types: Iterable[tuple[str, Any]], module: str | None, defaults: Iterable[Any] = ()
    ) -> Any:
        annotations = dict(types)
        if module is None or not module.startswith("hubcli."):
            return make(name, annotations.items(), module, defaults)
        new_class = make_class(name, annotations, defaults=defaults, module=module)
        new_class.__annotations__ = new_class.__new__.__annotations__ = annotations
        return new_class

    typing._make_nmtuple = make_own  # type: ignore[attr-defined]


def _is_written(text: str) -> bool:
    """Whether standard output took the text; where it didn't, the long way tells why."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError):
        return False
    return True


class LazyImports:
    """Within `with LazyImports():`, `from module import name` imports the module when the name is first used.

    Python 3.15 has `lazy from module import name` (PEP 810) for this. A command's options and its run
    stand in one file by it: building the application and reporting a usage error need the options alone,
    while what the run needs takes 19 ms (`pin`) to 170 ms (`fetch` over HTTP) to import.

    The name stands for a function or class that is called, whose attributes are read, that is iterated over
    or that `isinstance` asks, and in annotations; it can't be a base class, nor stand behind `except`. From
    its first use on it is the object itself.
    """

    def __enter__(self) -> None:
        import builtins

        self._import: Callable[..., Any] = builtins.__import__
        namespace = sys._getframe(1).f_globals

        def import_later(
            name: str,
            globals: Mapping[str, Any] | None = None,  # noqa: A002 - its name in `__import__`
            locals: Mapping[str, Any] | None = None,  # noqa: A002
            fromlist: Sequence[str] | None = (),
            level: int = 0,
        ) -> Any:
            if globals is namespace and fromlist:
                return _LazyModule(name, namespace)
            return self._import(name, globals, locals, fromlist, level)

        builtins.__import__ = import_later

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import builtins

        builtins.__import__ = self._import


class _LazyModule:
    """What `from` takes names of."""

    def __init__(self, module: str, namespace: dict[str, Any]) -> None:
        self._module = module
        self._namespace = namespace

    def __getattr__(self, name: str) -> _LazyName:
        return _LazyName(self._module, name, self._namespace)


class _LazyName:
    """Stands in the namespace of a module for a name of another, and is replaced at its first use."""

    def __init__(self, module: str, name: str, namespace: dict[str, Any]) -> None:
        self._module = module
        self._name = name
        self._namespace = namespace

    def _load(self) -> Any:
        from importlib import import_module

        loaded = getattr(import_module(self._module), self._name)
        for name, value in list(self._namespace.items()):
            if value is self:
                self._namespace[name] = loaded
        return loaded

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._load()(*arguments, **named)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._load(), name)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._load())

    def __instancecheck__(self, instance: object) -> bool:
        return isinstance(instance, self._load())


class DeferredClasses:
    """Within `with DeferredClasses({"module": "Class"}):`, importing the class gives a placeholder.

    The placeholder imports the real class, or function, when it is called or its attributes are read, so that
    it may be kept, as typer.rich_utils does; several names have spaces between them, and the module alone may
    have none. Modules that are loaded already stay as they are.
    """

    def __init__(self, classes: Mapping[str, str]) -> None:
        deferred = (module for module in classes if module not in sys.modules)
        self._placeholders = {module: _DeferredModule(module) for module in deferred}
        for module, placeholder in self._placeholders.items():
            for name in classes[module].split():
                setattr(placeholder, name, _DeferredClass(name, (), {"__module__": module}))

    def __enter__(self) -> None:
        sys.modules.update(self._placeholders)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for module, placeholder in self._placeholders.items():
            if sys.modules.get(module) is placeholder:
                del sys.modules[module]


class _DeferredModule(type(sys)):  # type: ignore[misc]
    """Stands for a module that is imported when another of its names is used."""

    def __getattr__(self, name: str) -> Any:
        if name[:2] == "__":  # As the import system asks for.
            raise AttributeError(name)
        from importlib import import_module

        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), name)


class _DeferredClass(type):
    """The type of a class that stands for the one of its name in its module; annotations may hold it."""

    def _load(cls) -> Any:
        from importlib import import_module

        if getattr(sys.modules.get(cls.__module__), cls.__name__, None) is cls:
            del sys.modules[cls.__module__]
        return getattr(import_module(cls.__module__), cls.__name__)

    def __call__(cls, *arguments: Any, **named: Any) -> Any:
        return cls._load()(*arguments, **named)

    def __getattr__(cls, name: str) -> Any:
        return getattr(cls._load(), name)

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, cls._load())


class _ExitFreeze:
    """What is called at exit: frozen objects are not scanned. Registered once, so that others are seen."""

    def __init__(self) -> None:
        self.is_registered = self._is_on = False

    def turn(self, *, on: bool) -> None:
        self._is_on = on
        if on and not self.is_registered:
            import atexit

            atexit.register(self)
            self.is_registered = True

    def __call__(self) -> None:
        import gc

        if self._is_on:
            gc.freeze()


_exit_freeze = _ExitFreeze()  # The end of the process is that of the whole process.
_MANY_OBJECTS = 50_000  # A failed download leaves some hundred, in a cycle of error and frames.


def disable_garbage_collection() -> None:
    """Disables garbage collection until the process ends, and at exit.

    While the command line loads, since that creates modules, which stay: scanning them takes
    7 ms of each start, and 6 ms of each end. And for commands that create many objects, none of them in a
    cycle, and are done soon: it takes a tenth of the time of `inspect`, a fifth of that of a long listing.
    """
    import gc

    gc.disable()
    _exit_freeze.turn(on=True)


def restore_garbage_collection() -> None:
    """Enables garbage collection again, except of what has been loaded. Each command begins with it."""
    import gc

    _exit_freeze.turn(on=False)
    gc.freeze()
    gc.enable()


def freeze_loaded_objects() -> None:
    """Leaves out of garbage collection what has been created so far.

    TensorFlow and a model of the size of ResNet50 are 500,000 objects, which stay until the process ends;
    what a training function creates afterwards is collected as usual, at exit too.
    """
    import gc

    gc.freeze()


def reduce_garbage_collection() -> None:
    """Makes Python collect garbage rarely, and not at exit.

    For commands that may run for long, without TensorFlow: most of what they create is modules, which
    stay. Collections take a tenth of the time of a small fetch.
    """
    import gc

    gc.set_threshold(_MANY_OBJECTS)
    _exit_freeze.turn(on=True)
