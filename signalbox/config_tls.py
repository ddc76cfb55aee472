"""The certificate that the server shows, and its key: whether the two files can be used is asked
here, so that a mistake stops the start with its place and not the first connection."""

from __future__ import annotations

import ssl
from pathlib import Path

from msgspec.structs import replace

from signalbox.config_lines import KeyPath
from signalbox.config_report import Report
from signalbox.config_schema import Server

_CERTFILE: KeyPath = ("server", "certfile")
_KEYFILE: KeyPath = ("server", "keyfile")


def with_tls_files(server: Server, folder: Path, report: Report) -> Server:
    """The same section with whole paths; relative ones start at `folder`. Reports mistakes."""
    if server.certfile is None and server.keyfile is None:
        return server
    if server.certfile is None or server.keyfile is None:
        given, missing = (
            (_CERTFILE, "keyfile") if server.keyfile is None else (_KEYFILE, "certfile")
        )
        report.mistake(given, f"expected server.{missing} beside it")
        return server
    certfile, keyfile = folder / server.certfile, folder / server.keyfile
    readable = [_is_readable(*it, report) for it in ((_CERTFILE, certfile), (_KEYFILE, keyfile))]
    if all(readable):
        _check_pair(certfile, keyfile, report)
    return replace(server, certfile=str(certfile), keyfile=str(keyfile))


def _is_readable(key: KeyPath, file: Path, report: Report) -> bool:
    try:
        with file.open("rb"):
            return True
    except OSError as error:
        report.mistake(key, f"{file} cannot be read: {error.strerror}")
        return False


def _check_pair(certfile: Path, keyfile: Path, report: Report) -> None:
    try:
        # Without the function OpenSSL would ask the terminal for a password.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certfile, keyfile, lambda: "")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            report.mistake(_KEYFILE, f"{keyfile} is not the key of {certfile}")
        elif _has_certificate(certfile):
            report.mistake(_KEYFILE, f"expected a private key in PEM without a password: {keyfile}")
        else:
            report.mistake(_CERTFILE, f"expected certificates in PEM: {certfile}")


def _has_certificate(certfile: Path) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(certfile)
    except ssl.SSLError:
        return False
    return True
