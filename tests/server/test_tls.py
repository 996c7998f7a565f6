"""TLS: the official client over https, clients that must show a certificate, and what does not fit said at start."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

import httpx
import openai
import pytest

from server.refused import Refused
from server.settings import Settings
from server.sources import Mistakes, read
from server.tls import PASSWORD, BadTls, tls_from, tls_of
from tests.server.conftest import serving

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make certificates")
SECRET = "correct horse"


@dataclass(frozen=True)
class Files:
    """An authority, what it has signed for 127.0.0.1 and for a client, and what does not fit."""

    folder: Path

    def __getattr__(self, name: str) -> Path:
        return self.folder / name.replace("_", ".")


def openssl(folder: Path, command: str) -> None:
    subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("tls")
    new = "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
    openssl(folder, f"{new} -x509 -days 2 -subj /CN=authority -keyout ca.key -out ca.pem")
    for name in ("server", "client"):
        openssl(folder, f"{new} -subj /CN={name} -keyout {name}.key -out {name}.csr")
        (folder / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
        signed = f"-CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out {name}.pem"
        openssl(folder, f"x509 -req -in {name}.csr {signed}")
    (folder / "password").write_text(SECRET + "\n")
    openssl(folder, "ec -in server.key -aes256 -passout file:password -out locked.key")
    (folder / "both.pem").write_text((folder / "server.pem").read_text() + (folder / "server.key").read_text())
    (folder / "junk.pem").write_text("nothing\n")
    (folder / "binary.pem").write_bytes(bytes(range(256)))
    return Files(folder)


def test_the_official_client_chats_over_https_and_plain_http_gets_nothing(files: Files, model: Path) -> None:
    options = ["--ssl-certfile", files.server_pem, "--ssl-keyfile", files.locked_key]
    options += ["--ssl-keyfile-password-file", files.password, "--ssl-ca-certs", files.ca_pem]
    with serving(model, *map(str, options)) as url:
        assert url.startswith("https://127.0.0.1:")
        context = ssl.create_default_context(cafile=files.ca_pem)
        context.load_cert_chain(files.client_pem, files.client_key)
        with openai.OpenAI(
            base_url=f"{url}/v1", api_key="unused", http_client=openai.DefaultHttpxClient(verify=context)
        ) as client:
            messages = [{"role": "user", "content": "hi"}]
            stream = client.chat.completions.create(
                model="tiny-chat",
                messages=messages,  # type: ignore[arg-type]
                max_tokens=3,
                stream=True,
            )
            assert [chunk.choices[0].finish_reason for chunk in stream][-1] in ("length", "stop")
        stranger = ssl.create_default_context(cafile=files.ca_pem)
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{url}/health", verify=stranger)
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{url}/health", verify=True)
        with pytest.raises(httpx.TransportError):
            httpx.get(url.replace("https", "http") + "/health")
        assert httpx.get(f"{url}/health", verify=context).json()["status"] == "ok"


def test_what_fits_is_taken(files: Files) -> None:
    assert tls_of(None, None, None, None, {}) is None
    for key, password, environment in (
        (files.server_key, None, {}),
        (files.locked_key, files.password, {}),
        (files.locked_key, None, {PASSWORD: SECRET}),
    ):
        found = tls_of(files.server_pem, key, password, None, environment)
        assert found is not None and SECRET not in repr(found)
    assert tls_of(files.both_pem, None, None, files.ca_pem, {}) is not None


def test_the_password_of_a_key_leaves_the_environment_whatever_comes_of_it(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(ssl_certfile=files.server_pem, ssl_keyfile=files.locked_key)
    monkeypatch.setenv(PASSWORD, SECRET)
    found = tls_from(settings)
    assert found is not None and found.password == SECRET
    assert PASSWORD not in os.environ, "the engine's process would inherit it"
    monkeypatch.setenv(PASSWORD, "wrong")
    with pytest.raises(Refused, match="has a password that is not the one given"):
        tls_from(settings)
    assert PASSWORD not in os.environ


@pytest.mark.parametrize(
    ("certificate", "key", "ca_certs", "password", "said"),
    [
        ("nowhere.pem", "server.key", None, None, r"--ssl-certfile \S+ cannot be read: No such file"),
        ("server.pem", "nowhere.key", None, None, r"--ssl-keyfile \S+ cannot be read: No such file"),
        ("server.pem", "client.key", None, None, "is not the key of --ssl-certfile"),
        ("server.pem", None, None, None, "name its file by --ssl-keyfile"),
        ("server.pem", "server.pem", None, None, "holds no private key"),
        ("server.key", "server.key", None, None, r"--ssl-certfile \S+ holds no certificate"),
        ("junk.pem", "server.key", None, None, r"--ssl-certfile \S+ holds no certificate"),
        ("binary.pem", "server.key", None, None, "a file in PEM format is wanted"),
        ("server.pem", "locked.key", None, None, f"has a password; set {PASSWORD}"),
        ("server.pem", "locked.key", None, "wrong", "has a password that is not the one given"),
        ("server.pem", "server.key", "junk.pem", None, "--ssl-ca-certs"),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    files: Files, certificate: str, key: str | None, ca_certs: str | None, password: str | None, said: str
) -> None:
    paths = [None if name is None else files.folder / name for name in (certificate, key, ca_certs)]
    environment = {} if password is None else {PASSWORD: password}
    with pytest.raises(BadTls, match=said) as caught:
        tls_of(paths[0], paths[1], None, paths[2], environment)
    assert "\n" not in str(caught.value)


def test_a_key_or_an_authority_without_a_certificate_is_a_mistake(files: Files) -> None:
    for flag in ("--ssl-keyfile", "--ssl-ca-certs", "--ssl-keyfile-password-file"):
        name = flag.removeprefix("--").replace("-", "_")
        with pytest.raises(Mistakes) as caught:
            read({name: str(files.server_key)}, {})
        [line] = caught.value.lines
        assert flag in line and "certificate" in line
    assert Settings().ssl_certfile is None
