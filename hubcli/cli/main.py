"""The entry point, and all that saves milliseconds at each start, with its reason and its gain.

Processor time, the least of 15 to 20 runs, on a machine where Python starts in 10 ms and
`import typer` takes 55 more:

- `--version` is answered before anything is imported: 11 ms instead of 75.
- Names that a command needs only once it runs are imported when they are first used (`LazyImports`).
  `--help` and usage errors load none of them: 19 ms for `pin`, 42 for `fetch`, 170 where that uses HTTP.
- One command is built for a run instead of eleven (`hubcli.cli.app.app_of`): 33 ms. For a usage error the
  others are there by their names alone, and options are known from what completion has: 60 ms.
- Garbage collection is off while modules load, and at exit: 13 ms
  (`disable_garbage_collection`).
- Help is rendered without rich's Markdown and tracebacks, which Typer imports and ours never shows
  (`DeferredClasses`): 30 ms of `--help`.
- The process in which `run` has TensorFlow is started before anything else, on another core: 80 ms.
- `TYPE_CHECKING = False` stands here, in `hubcli` and in `hubcli._moved` instead of the import of
  `typing`: 11 ms, as much as `--version` takes as a whole.

Nothing is imported here before it is needed.
"""

from __future__ import annotations

import sys

from hubcli import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import Any

__all__ = [
    "DeferredClasses",
    "LazyImports",
    "disable_garbage_collection",
    "main",
    "reduce_garbage_collection",
    "repeat_lost_interrupt",
    "restore_garbage_collection",
]


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

    The name stands for a function or class that is called, whose attributes are read, that is iterated
    over or that `isinstance` asks; it can't be a base class, nor stand behind `except`. In annotations
    it may stand anywhere, as these aren't evaluated. From its first use on it is the object itself.
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

    The placeholder imports the real class when it is called or its attributes are read, so that it may be
    kept, as typer.rich_utils does. Modules that are loaded already stay as they are.
    """

    def __init__(self, classes: Mapping[str, str]) -> None:
        self._placeholders = {module: type(sys)(module) for module in classes if module not in sys.modules}
        for module, placeholder in self._placeholders.items():
            name = classes[module]
            setattr(placeholder, name, _DeferredClass(name, (), {"__module__": module}))

    def __enter__(self) -> None:
        sys.modules.update(self._placeholders)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for module, placeholder in self._placeholders.items():
            if sys.modules.get(module) is placeholder:
                del sys.modules[module]


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


_MANY_OBJECTS = 50_000  # A failed download leaves some hundred, in a cycle of error and frames.


def disable_garbage_collection() -> None:
    """Disables garbage collection until the process ends, and at exit.

    While the command line loads, since that creates modules, which stay: scanning them takes
    7 ms of each start, and 6 ms of each end. And for commands that create many objects, none of them in a
    cycle, and are done soon: it takes a tenth of the time of `inspect`, a fifth of that of a long listing.
    """
    import atexit
    import gc

    gc.disable()
    atexit.register(gc.freeze)  # Frozen objects are not scanned.


def restore_garbage_collection() -> None:
    """Enables garbage collection again, except of what has been loaded. Each command begins with it."""
    import atexit
    import gc

    atexit.unregister(gc.freeze)
    gc.freeze()
    gc.enable()


def reduce_garbage_collection() -> None:
    """Makes Python collect garbage rarely, and not at exit.

    For commands that may run for long, without TensorFlow: most of what they create is modules, which
    stay. Collections take a tenth of the time of a small fetch.
    """
    import atexit
    import gc

    gc.set_threshold(_MANY_OBJECTS)
    atexit.register(gc.freeze)
