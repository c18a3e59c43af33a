"""The files that are published: their names and sizes, and which of them must not leave this machine.

Secrets, caches, and links that lead out of the model are refused, not left out: a model that was verified
with a file is not published without it.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path

from hubcli.archive import Limits
from hubcli.archive.tree import Tree, TreeNode
from hubcli.errors import NotFoundError, TruncatedError
from hubcli.issues import Issue, Location, Severity
from hubcli.regular_file import read_regular

__all__ = ["file_issues", "files_of", "read_files", "require_unchanged"]

# Of a file or of a directory on the way to it, in lower case.
_SECRET_NAMES = (
    *(".env", ".env.*", "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx", "*.ppk"),
    *("id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", ".netrc", "_netrc", ".pypirc", ".npmrc"),
    *(".git-credentials", ".htpasswd", ".pgpass", "kaggle.json", "credentials", "credentials.json"),
    *("access_token", "client_secret*.json", "service-account*.json", "service_account*.json"),
    *("application_default_credentials.json", ".aws", ".ssh", ".gnupg", ".kaggle", ".kube", ".azure"),
    *(
        "secrets.json",
        "secrets.toml",
        "secrets.y*ml",
        ".*_history",
        ".docker",
        ".dockercfg",
        ".boto",
        ".s3cfg",
    ),
)
_CACHE_NAMES = (
    *(".git", ".hg", ".svn", "__pycache__", "*.pyc", ".ds_store", "thumbs.db", "desktop.ini"),
    *(".ipynb_checkpoints", ".cache", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".tox", ".venv"),
    *(".vscode", ".idea", "node_modules", "*~", "*.swp", "*.tmp", "*.orig", ".huggingface", "._*"),
    *("*.hubcli-tmp", "*.hubcli.part"),
)
# Formats that are secrets wherever they stand: what each begins with, and all of it. That a file has none of
# the beginnings is known in an eighth of the time that one expression takes. Sources: RFC 7468; RFC 9580; the
# token formats of AWS, Azure, GitHub, GitLab, Slack, Google, Hugging Face, Kaggle, npm and PyPI.
_SECRET_FORMATS = (
    # Texts about keys have the first line alone; of a key, headers and a line in base64 follow.
    (
        (b"-----BEGIN ",),
        rb"-----BEGIN (?:[A-Z]+ ){0,2}PRIVATE KEY(?: BLOCK)?-----[\s\S]{0,400}?[A-Za-z0-9+/]{40}",
    ),
    # Those of AWS's own documentation end so.
    ((b"AKIA", b"ASIA"), rb"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b(?<!EXAMPLE)"),
    ((b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_"), rb"\bgh[pousr]_[A-Za-z0-9]{36}"),
    ((b"github_pat_",), rb"\bgithub_pat_[A-Za-z0-9_]{40}"),
    ((b"xoxa-", b"xoxb-", b"xoxp-", b"xoxr-"), rb"\bxox[abpr]-[0-9A-Za-z-]{20}"),
    ((b"glpat-",), rb"\bglpat-[A-Za-z0-9_-]{20}"),
    ((b"npm_",), rb"\bnpm_[A-Za-z0-9]{36}\b"),
    ((b"pypi-AgEI",), rb"\bpypi-AgEI[A-Za-z0-9_-]{50}"),
    ((b"AIza",), rb"\bAIza[0-9A-Za-z_-]{35}(?![0-9A-Za-z_-])"),
    ((b"hf_",), rb"\bhf_[A-Za-z]{34}\b"),
    ((b"KGAT_",), rb"\bKGAT_[0-9A-Za-z_-]{16}"),
    # Of no form of their own: known by the name in front.
    (
        (b"secret_access_key", b"SECRET_ACCESS_KEY", b"SecretAccessKey"),
        rb"(?:secret_access_key|SECRET_ACCESS_KEY|SecretAccessKey)[\"']?\s{0,9}[=:]\s{0,9}[\"']?"
        rb"[A-Za-z0-9/+]{40}(?<!EXAMPLEKEY)(?![A-Za-z0-9/+=])",
    ),
    # The storage emulator's is published.
    ((b"AccountKey=",), rb"\bAccountKey=(?!Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1)[A-Za-z0-9/+]{86}=="),
)
# Text of Windows may be in UTF-16. Words with zeros between them, as in arrays of text, are not one word.
_UTF16 = re.compile(rb"(?:[\t\n\r -~]\0){16,}[\t\n\r -~]?")
_MAX_READ_BYTES = 1 << 20  # Secrets are small files; tensors and graphs aren't searched.


def read_files(directory: Path) -> Tree:
    """Everything below the directory. Raises UnsafeArchiveError for what no archive may hold."""
    return Tree.read(directory, Limits())


def require_unchanged(tree: Tree) -> None:
    """Raises TruncatedError if there are other files now, or any was written since they were read.

    What was checked and confirmed is published, or nothing: a version can't be taken back.
    """
    if read_files(tree.top) != tree:
        raise TruncatedError(f"{tree.top} changed during the upload", hint="Run the command again.")


def files_of(tree: Tree) -> tuple[TreeNode, ...]:
    """The files, without directories, in the order of their names."""
    return tuple(node for node in tree.nodes if not node.is_directory)


def file_issues(tree: Tree) -> tuple[Issue, ...]:
    """What keeps the files from being published: one issue a file."""
    return tuple(filter(None, (_issue_of(node, tree.top) for node in files_of(tree))))


def _issue_of(node: TreeNode, top: Path) -> Issue | None:
    segments = [segment.lower() for segment in node.name.split("/")]
    if _fits(segments, _SECRET_NAMES):
        return _refusal("secret-file", f"{node.name} is named like a secret", node)
    if _fits(segments, _CACHE_NAMES):
        return _refusal("cache-file", f"{node.name} belongs to a tool, not to the model", node)
    if _leads_out(node.path, top):
        return _refusal("link-out-of-model", f"{node.name} is a link to a file outside of the model", node)
    if node.size_bytes <= _MAX_READ_BYTES and _has_secret(_content(node.path)):
        return _refusal("secret-content", f"{node.name} contains a private key or an access token", node)
    return None


def _refusal(code: str, message: str, node: TreeNode) -> Issue:
    hint = "Replace the link with a copy." if code == "link-out-of-model" else "Remove it from the model."
    return Issue(Severity.ERROR, code, message, Location(file=node.name), hint)


def _fits(segments: list[str], patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(segment, pattern) for segment in segments for pattern in patterns)


def _leads_out(path: Path, top: Path) -> bool:
    return path.is_symlink() and not path.resolve().is_relative_to(top.resolve())


def _has_secret(content: bytes) -> bool:
    texts = (content, b"\n".join(run.replace(b"\0", b"") for run in _UTF16.findall(content)))
    return any(
        any(start in text for start in starts) and re.search(pattern, text)
        for text in texts
        for starts, pattern in _SECRET_FORMATS
    )


def _content(path: Path) -> bytes:
    try:
        return read_regular(path, _MAX_READ_BYTES)
    except OSError as error:
        raise NotFoundError(f"Cannot read {path}: {error.strerror}", hint="Check its permissions.") from error
