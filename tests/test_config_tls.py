"""`server.certfile` and `server.keyfile`: two files that belong together, or none."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from tests.configs import load, mistakes

BOTH = 'server.certfile = "cert.pem"\nserver.keyfile = "tls/key.pem"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A certificate with its key, in the files of `BOTH`."""
    issued = trustme.CA().issue_cert("localhost")
    (tmp_path / "tls").mkdir()
    (tmp_path / "tls" / "key.pem").write_bytes(issued.private_key_pem.bytes())
    (tmp_path / "cert.pem").write_bytes(b"".join(it.bytes() for it in issued.cert_chain_pems))
    return tmp_path


def test_without_the_two_there_is_no_tls(tmp_path: Path) -> None:
    server = load(tmp_path, "").server
    assert (server.certfile, server.keyfile) == (None, None)


def test_relative_paths_start_at_the_configuration_file(folder: Path) -> None:
    settings = load(folder, BOTH)
    assert settings.server.certfile == str(folder / "cert.pem")
    assert settings.server.keyfile == str(folder / "tls" / "key.pem")
    assert settings.warnings == ()


@pytest.mark.parametrize("given", ["certfile", "keyfile"])
def test_one_without_the_other_is_a_mistake(folder: Path, given: str) -> None:
    other = "keyfile" if given == "certfile" else "certfile"
    told = mistakes(folder, f'[server]\n{given} = "cert.pem"')
    assert told == f"signalbox.toml:2: server.{given}: expected server.{other} beside it"


def test_files_that_are_not_there_are_named_each(folder: Path) -> None:
    (folder / "cert.pem").unlink()
    (folder / "tls" / "key.pem").unlink()
    assert mistakes(folder, BOTH).splitlines() == [
        f"signalbox.toml:1: server.certfile: {folder}/cert.pem cannot be read: "
        "No such file or directory",
        f"signalbox.toml:2: server.keyfile: {folder}/tls/key.pem cannot be read: "
        "No such file or directory",
    ]


def test_a_folder_is_no_file(folder: Path) -> None:
    assert "server.keyfile" in mistakes(folder, BOTH.replace("tls/key.pem", "tls"))


def test_the_key_of_another_certificate_is_a_mistake(folder: Path) -> None:
    other = trustme.CA().issue_cert("localhost").private_key_pem
    (folder / "tls" / "key.pem").write_bytes(other.bytes())
    told = mistakes(folder, BOTH)
    assert told.startswith("signalbox.toml:2: server.keyfile: ")
    assert told.endswith(f"key.pem is not the key of {folder}/cert.pem")


def test_what_is_no_certificate_is_a_mistake(folder: Path) -> None:
    (folder / "cert.pem").write_text("hello")
    told = mistakes(folder, BOTH)
    assert told == (
        f"signalbox.toml:1: server.certfile: expected certificates in PEM: {folder}/cert.pem"
    )


@pytest.mark.parametrize("encrypted", [False, True])
def test_what_is_no_key_or_has_a_password_is_a_mistake(folder: Path, encrypted: bool) -> None:
    file = folder / "tls" / "key.pem"
    content = b"hello"
    if encrypted:
        key = serialization.load_pem_private_key(file.read_bytes(), None)
        content = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"a password"),
        )
    file.write_bytes(content)
    told = mistakes(folder, BOTH)
    assert told == (
        "signalbox.toml:2: server.keyfile: expected a private key in PEM without a password: "
        f"{file}"
    )
