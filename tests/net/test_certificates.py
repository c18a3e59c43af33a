"""Certificate authorities: counted, dated, and refused where they are none."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
import threading
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import trustme

from hubcli.config.environment import NetworkConfig
from hubcli.errors import NetworkError
from hubcli.net import connections
from hubcli.net.client import open_client
from hubcli.net.connections import preload_context, read_authorities, trusted_context
from tests.cases import each_of


def bundle(path: Path, *authorities: trustme.CA) -> Path:
    path.write_bytes(b"".join(authority.cert_pem.bytes() for authority in authorities))
    return path


def test_the_authorities_of_a_file_are_counted(tmp_path: Path) -> None:
    file = bundle(tmp_path / "ca.pem", trustme.CA(), trustme.CA())
    found = read_authorities(NetworkConfig.read({}, str(file)))
    assert (found.place, found.count, found.expired) == (file, 2, 0)


def test_those_of_the_system_are_where_openssl_looks_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system: Any = ssl.get_default_verify_paths()
    for paths, place in (
        (system._replace(cafile=str(tmp_path / "ca.pem"), capath="/folder"), tmp_path / "ca.pem"),
        (system._replace(cafile=None, capath=str(tmp_path)), tmp_path),
        (system._replace(cafile=None, capath=None), None),
    ):
        monkeypatch.setattr(ssl, "get_default_verify_paths", lambda paths=paths: paths)
        assert read_authorities(NetworkConfig.read({})).place == place


def test_a_certificate_of_a_server_is_no_authority(tmp_path: Path) -> None:
    file = tmp_path / "server.pem"
    trustme.CA().issue_cert("host.example").cert_chain_pems[0].write_to_path(str(file))
    assert (read_authorities(NetworkConfig.read({}, str(file)))).count == 0


def test_an_expired_one_is_told(tmp_path: Path, expired_authority: Path) -> None:
    found = read_authorities(NetworkConfig.read({"SSL_CERT_FILE": str(expired_authority)}))
    assert (found.count, found.expired) == (1, 1)


def test_the_files_of_a_folder_are_counted_by_their_hashed_names(tmp_path: Path) -> None:
    bundle(tmp_path / "4a6481c9.0", trustme.CA())
    bundle(tmp_path / "ca.pem", trustme.CA())
    found = read_authorities(NetworkConfig.read({"SSL_CERT_DIR": str(tmp_path)}))
    assert (found.place, found.count) == (tmp_path, 1)


def test_those_of_the_system_are_believed_by_default() -> None:
    assert read_authorities(NetworkConfig.read({})).count > 0


@each_of("content", [None, "", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_what_holds_none_is_refused(content: str | None, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(NetworkError) as refused:
        read_authorities(NetworkConfig.read({"SSL_CERT_FILE": str(file)}))
    assert str(file) in refused.value.message
    assert refused.value.hint


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match="No such file"):
        read_authorities(NetworkConfig.read({"SSL_CERT_DIR": str(tmp_path / "gone")}))


@pytest.fixture
def expired_authority(tmp_path: Path) -> Path:
    """The file of an authority whose time was up in 2001."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "old")])
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(datetime(2000, 1, 1, tzinfo=timezone.utc))
        .not_valid_after(datetime(2001, 1, 1, tzinfo=timezone.utc))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "old.pem"
    file.write_bytes(built.public_bytes(Encoding.PEM))
    return file


def test_a_context_is_made_once_for_the_same_places(tmp_path: Path) -> None:
    access = NetworkConfig.read({}, str(bundle(tmp_path / "ca.pem", trustme.CA())))
    preload_context(access)
    assert trusted_context(access) is trusted_context(access)
    other = NetworkConfig.read({}, str(bundle(tmp_path / "other.pem", trustme.CA())))
    assert trusted_context(other) is not trusted_context(access)


def test_what_the_system_believes_is_read_anew_once_it_is_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = []
    for number in (1, 2):
        file = bundle(tmp_path / f"{number}.pem", *(trustme.CA() for _ in range(number)))
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        counts.append(trusted_context(NetworkConfig()).cert_store_stats()["x509_ca"])
    assert counts == [1, 2]


def test_a_file_that_was_replaced_is_read_again(tmp_path: Path) -> None:
    access = NetworkConfig.read({}, str(bundle(tmp_path / "ca.pem", trustme.CA())))
    assert trusted_context(access).cert_store_stats()["x509_ca"] == 1
    bundle(tmp_path / "ca.pem", trustme.CA(), trustme.CA())
    assert trusted_context(access).cert_store_stats()["x509_ca"] == 2


@pytest.mark.slow
def test_a_process_may_end_while_they_are_read() -> None:
    program = (
        "import time; from hubcli.config.environment import NetworkConfig;"
        "from hubcli.net.connections import preload_context;"
        "preload_context(NetworkConfig()); time.sleep(0.005)"  # While it loads: no event says when.
    )
    for _ in range(10):
        subprocess.run([sys.executable, "-c", program], check=True)


def test_a_file_that_could_not_be_read_ahead_is_read_again(tmp_path: Path) -> None:
    access = NetworkConfig.read({"SSL_CERT_FILE": str(tmp_path / "ca.pem")})
    preload_context(access)
    with pytest.raises(OSError, match="No such file"):
        trusted_context(access)
    bundle(tmp_path / "ca.pem", trustme.CA())
    assert trusted_context(access).cert_store_stats()["x509_ca"] == 1


def test_a_fifo_may_hold_them_and_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_WAIT_S", 0.05)
    fifo, pem = tmp_path / "ca.pem", trustme.CA().cert_pem.bytes()
    os.mkfifo(fifo)
    with pytest.raises(NetworkError, match="no data for"):
        read_authorities(NetworkConfig.read({"SSL_CERT_FILE": str(fifo)}))
    monkeypatch.setattr(connections, "_WAIT_S", 10)
    # A reader that opened it twice would lose what the writer sends to the first.
    writer = threading.Thread(target=fifo.write_bytes, args=(pem,))
    writer.start()
    assert (
        trusted_context(NetworkConfig.read({"SSL_CERT_FILE": str(fifo)})).cert_store_stats()["x509_ca"] == 1
    )
    writer.join()
    assert (
        trusted_context(NetworkConfig.read({"SSL_CERT_FILE": str(fifo)})).cert_store_stats()["x509_ca"] == 1
    )


def test_a_device_without_any_is_refused() -> None:
    with pytest.raises(NetworkError, match="no certificate"):
        read_authorities(NetworkConfig.read({"SSL_CERT_FILE": "/dev/null"}))


def test_a_message_names_what_holds_no_certificate() -> None:
    with (
        pytest.raises(NetworkError, match=r"settings: /dev/null holds no certificate in PEM form$"),
        open_client("https://h.example", 1, NetworkConfig.read({"SSL_CERT_FILE": "/dev/null"})),
    ):
        pass
