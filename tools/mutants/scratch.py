"""A scratch copy of the project with an environment of its own, in which mutants are planted."""

from __future__ import annotations

import os
import shutil
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

_LEFT_OUT = shutil.ignore_patterns(
    ".git", "__pycache__", ".*_cache", ".venv", ".hypothesis", ".coverage*", "dist", "build"
)


@dataclass(frozen=True, slots=True)
class Scratch:
    """The copy, and the interpreter that imports from it."""

    root: Path
    python: Path

    @classmethod
    def make(cls, folder: Path, project: Path, tests: Path | None) -> Scratch:
        """Copies the project, with other tests where they are given."""
        root = folder / "project"
        shutil.copytree(project, root, ignore=_LEFT_OUT, symlinks=True)
        if tests is not None:
            shutil.rmtree(root / "tests")
            shutil.copytree(tests, root / "tests", ignore=_LEFT_OUT, symlinks=True)
        # What lies beside the project, such as the corpus, is found beside the copy.
        beside = (project.parent / "shared").resolve()
        if beside.is_dir():
            (folder / "shared").symlink_to(beside)
        return cls(root, _make_environment(folder / "environment", root))

    def environment(self, **more: str) -> dict[str, str]:
        """The variables of a run of tests."""
        path = f"{self.python.parent}{os.pathsep}{os.environ['PATH']}"
        # Neither the options of the run that this one is part of, nor a place for bytecode where `write`
        # wouldn't find it.
        left_out = ("PYTEST_", "COV", "PYTHONPYCACHEPREFIX", "PYTHONPATH")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
        return {**inherited, "PATH": path, **more}

    def write(self, file: str, source: bytes) -> None:
        """Writes a module, and removes its bytecode, which may be as new and as long."""
        path = self.root / file
        path.write_bytes(source)
        for stale in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
            stale.unlink()


def _make_environment(folder: Path, root: Path) -> Path:
    """An environment, since tests that clean theirs would import the installed package, not the copy."""
    venv.create(folder, with_pip=False, symlinks=True)
    packages = next((folder / "lib").glob("python3*/site-packages"))
    installed = [Path(path) for path in sys.path if Path(path).name == "site-packages"]
    # tools is this project's own, also where the mutated project has none. No PYTHONPATH: `doctor` shows it.
    own = Path(__file__).parent.parent.parent
    (packages / "a.pth").write_text(f"{root}\n{own}\n")
    (packages / "b.pth").write_text("".join(f"{path}\n" for path in installed))
    for path in installed:
        for hook in path.glob("a1_coverage.pth"):
            shutil.copy(hook, packages)
    python = folder / "bin" / "python"
    script = folder / "bin" / "hubcli"
    script.write_text(f"#!{python}\nimport sys\nfrom hubcli.cli.main import main\nsys.exit(main())\n")
    script.chmod(0o755)
    return python
