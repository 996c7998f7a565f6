"""TLS: which certificate and key, checked before anything starts.

The password of a key is a secret, so it comes from a variable or from a file of its own, never from a flag. With
`ca_certs` a client has to show a certificate that one of these has signed.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from server.refused import Refused
from server.settings import Settings

PASSWORD = "RTRITON_SSL_KEYFILE_PASSWORD"


class BadTls(ValueError):
    """TLS cannot be had with these files; the message is one sentence."""


@dataclass(frozen=True)
class Tls:
    """Files that have been found to fit each other."""

    certificate: Path
    key: Path | None
    """None where the certificate's file has the key, too."""
    password: str | None = field(default=None, repr=False)
    ca_certs: Path | None = None

    def for_uvicorn(self) -> dict[str, Any]:
        """Arguments of `uvicorn.Config`."""
        needed = {} if self.ca_certs is None else {"ssl_ca_certs": self.ca_certs, "ssl_cert_reqs": ssl.CERT_REQUIRED}
        return {
            "ssl_certfile": self.certificate,
            "ssl_keyfile": self.key,
            "ssl_keyfile_password": self.password,
            **needed,
        }


def tls_of(
    certificate: Path | None,
    key: Path | None,
    password_file: Path | None,
    ca_certs: Path | None,
    environment: Mapping[str, str],
) -> Tls | None:
    """TLS as the settings ask for it; None without a certificate. `BadTls` says what is wrong."""
    if certificate is None:
        return None
    password = environment.get(PASSWORD)
    if password_file is not None:
        password = _text(password_file, "--ssl-keyfile-password-file").rstrip("\r\n")
    for file, option in ((certificate, "--ssl-certfile"), (key, "--ssl-keyfile"), (ca_certs, "--ssl-ca-certs")):
        if file is not None:
            _text(file, option)
    _check(certificate, key, password, ca_certs)
    return Tls(certificate, key, password, ca_certs)


def tls_from(settings: Settings) -> Tls | None:
    """The certificate to serve with, if there is one; `Refused` says why not. The key's password leaves the
    environment with that.
    """
    files = settings.ssl_certfile, settings.ssl_keyfile, settings.ssl_keyfile_password_file, settings.ssl_ca_certs
    try:
        return tls_of(*files, os.environ)
    except BadTls as error:
        raise Refused(str(error)) from None
    finally:
        os.environ.pop(PASSWORD, None)


def _text(file: Path, option: str) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise BadTls(f"{option} {file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadTls(f"{option} {file} is no text; a file in PEM format is wanted") from None


def _check(certificate: Path, key: Path | None, password: str | None, ca_certs: Path | None) -> None:
    """Load everything as the server will."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    asked: list[bool] = []

    def tell() -> str:
        asked.append(True)  # without this OpenSSL would ask at the terminal
        return password or ""

    try:
        context.load_cert_chain(certificate, key, tell)
    except ssl.SSLError as error:
        raise BadTls(_why(certificate, key, password, bool(asked), error)) from None
    if ca_certs is not None:
        try:
            context.load_verify_locations(ca_certs)
        except ssl.SSLError:
            raise BadTls(f"--ssl-ca-certs {ca_certs} holds no certificate in PEM format") from None


def _why(certificate: Path, key: Path | None, password: str | None, asked: bool, error: ssl.SSLError) -> str:
    name = f"--ssl-keyfile {key}" if key is not None else f"the key in --ssl-certfile {certificate}"
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"{name} is not the key of --ssl-certfile {certificate}; name the two that belong together"
    if asked:
        what = "has a password that is not the one given" if password else "has a password"
        return f"{name} {what}; set {PASSWORD} or --ssl-keyfile-password-file"
    if "BEGIN CERTIFICATE" not in certificate.read_text(encoding="utf-8"):
        return f"--ssl-certfile {certificate} holds no certificate in PEM format"
    if key is None:
        return f"--ssl-certfile {certificate} holds no private key; name its file by --ssl-keyfile"
    return f"{name} holds no private key in PEM format that fits --ssl-certfile {certificate}"
