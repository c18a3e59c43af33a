"""Which files of a model must not be published."""

from __future__ import annotations

from pathlib import Path

import pytest

from hubcli.errors import UnsafeArchiveError
from hubcli.publishing.upload_files import file_issues, files_of, read_files
from tests import models
from tests.cases import each_of

_BASE64 = b"b3BlbnNz" * 8
_BEGIN = b"-----BEGIN "


def codes(folder: Path) -> list[tuple[str, str | None]]:
    return [(issue.code, issue.location.file) for issue in file_issues(read_files(folder))]


@each_of(
    "name, code",
    [
        (".env", "secret-file"),
        (".env.production", "secret-file"),
        ("assets/SERVER.PEM", "secret-file"),
        ("assets/id_ed25519.pub", "secret-file"),
        (".aws/config", "secret-file"),
        (".bash_history", "secret-file"),
        ("assets/.docker/config.json", "secret-file"),
        ("assets.extra/kaggle.json", "secret-file"),
        ("assets/credentials", "secret-file"),
        (".git/HEAD", "cache-file"),
        ("assets/__pycache__/m.pyc", "cache-file"),
        ("assets/.DS_Store", "cache-file"),
        ("assets/Thumbs.db", "cache-file"),
        ("assets/notes.txt~", "cache-file"),
        (".ipynb_checkpoints/a.ipynb", "cache-file"),
        ("assets/._words.txt", "cache-file"),
    ],
)
def test_secrets_and_caches_are_found_by_their_names(name: str, code: str, tmp_path: Path) -> None:
    models.write_tree(tmp_path, {**models.example_files(), name: b"x"})
    assert codes(tmp_path) == [(code, name)]


@each_of(
    "content",
    [
        _BEGIN + b"OPENSSH PRIVATE KEY-----\n" + _BASE64,
        b'{"private_key": "' + _BEGIN + b"PRIVATE KEY-----\\n" + _BASE64 + b'\\n"}',
        _BEGIN + b"EC PRIVATE KEY-----\r\n" + _BASE64,
        _BEGIN
        + b"RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,"
        + b"0A" * 16
        + b"\n\n"
        + _BASE64,
        b"aws_access_key_id = AKIA" + b"ABCDEFGHIJKLMNOP\n",
        b"token: ghp_" + b"a" * 36,
        b"hf_" + b"A" * 34,
        b"glpat-" + b"a1-_" * 5,
        b"//r/:_authToken=npm_" + b"a" * 36,
        b"password = pypi-AgEI" + b"c" * 80,
        _BEGIN + b"PGP PRIVATE KEY BLOCK-----\nVersion: GnuPG v2\n\n" + _BASE64,
        *(
            ("ü: ghp_" + "a" * 36 + end).encode(text)
            for text in ("utf-16-le", "utf-16-be")
            for end in ("", "\r\n")
        ),
        b"KGAT_" + b"0" * 32,
        b"ASIA" + b"0" * 16,
        *(b"(gh" + kind + b"_" + b"0" * 36 for kind in (b"o", b"u", b"s", b"r")),
        b"github_pat_" + b"_" * 40,
        *(b"xox" + kind + b"-" + b"1" * 20 for kind in (b"a", b"b", b"p", b"r")),
        b"key=AIza" + b"-" * 34 + b"x",
        b"key=AIza" + b"x" * 34 + b"-\n",
        b"aws_secret_access_key = " + b"a/+Z" * 10 + b"\n",
        b"export AWS_SECRET_ACCESS_KEY='" + b"a/+Z" * 10 + b"'\n",
        b'{"SecretAccessKey": "' + b"a/+Z" * 10 + b'"}',
        b"aws_secret_access_key = " + b"aZ+/" * 10 + b"\n",
        b"DefaultEndpointsProtocol=https;AccountKey=" + b"a/" * 43 + b"==;",
    ],
)
def test_secrets_are_found_by_what_they_contain(content: bytes, tmp_path: Path) -> None:
    models.write_tree(tmp_path, {"assets/words.txt": b"a\n" * 1000 + content})
    assert codes(tmp_path) == [("secret-content", "assets/words.txt")]


def test_the_files_of_a_model_are_none_of_these(tmp_path: Path) -> None:
    harmless = {
        "assets/vocab.txt": b"key\ntoken\ncredentials\n-----BEGIN CERTIFICATE-----\nAKIA\n",
        "assets/pieces.txt": b"ghp_\nxoxb-\nnpm_%b\nhf_%b\n_glpat-%b" % (b"a" * 37, b"A" * 33, b"a" * 20),
        "assets/tokens.txt": b"[CLS]\n",
        "assets/names.txt": b"aws_secret_access_key\nsecret_access_key = %b\nAccountKey=\n" % (b"a" * 39),
        "assets/array.bin": b"%b\0PACIFICECONOMICS\0\0\0\0" % b"ASIA",
        "assets/digests.txt": b"secret_access_key = %b\n" % (b"a/+Z" * 16),
        "assets/headers.txt": b"%bPRIVATE KEY-----\n...\nand %bRSA PRIVATE KEY-----\n" % (_BEGIN, _BEGIN),
        "assets.extra/examples.md": b"AWS_ACCESS_KEY_ID=AKIAIOSFODNN7%b AWS_SECRET_ACCESS_KEY=wJalrXUtn%bKEY "
        b"AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1%b=="
        % (b"EXAMPLE", b"FEMI/K7MDENG/bPxRfiCYEXAMPLE", b"a" * 54),
        "assets.extra/tf_serving_warmup_requests": b"",
        "README.md": b"# environment\n",
        "keras_metadata.pb": b"",
        "assets/monkey": b"",
    }
    models.write_tree(tmp_path, {**models.example_files(), **harmless})
    assert codes(tmp_path) == []
    assert len(files_of(read_files(tmp_path))) == len(models.example_files()) + len(harmless)


def test_a_link_out_of_the_model_is_found_and_one_within_is_not(tmp_path: Path) -> None:
    model = models.write_tree(tmp_path / "model", models.example_files())
    (tmp_path / "outside.txt").write_bytes(b"x")
    (model / "inside.pb").symlink_to("saved_model.pb")
    (model / "outside.txt").symlink_to(tmp_path / "outside.txt")
    (model / ".env").write_bytes(b"x")
    secret, link = file_issues(read_files(model))
    assert (secret.code, secret.hint) == ("secret-file", "Remove it from the model.")
    assert (link.code, link.location.file) == ("link-out-of-model", "outside.txt")
    assert link.hint == "Replace the link with a copy."
    (model / "folder").symlink_to(tmp_path)
    with pytest.raises(UnsafeArchiveError):
        read_files(model)
