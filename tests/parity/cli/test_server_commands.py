"""`parity serve` on the command line: refused options and missing packages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from parity.case.load import DEMO
from parity.cli.main import main
from parity.server.settings import is_loopback, read_token
from pipelines.errors import UsageError
from tests.support.paths import ROOT
from tests.support.prepared import python
from tests.support.serving import process

JOBS = str(DEMO / "jobs")


def refused(capsys: pytest.CaptureFixture[str], folder: Path, *arguments: str) -> str:
    assert main(["serve", "--lora-root", JOBS, "--data", str(folder / "data"), *arguments]) == 2
    assert not (folder / "data").exists()
    return capsys.readouterr().err


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "gpu1"])
def test_other_addresses_need_a_token(
    host: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WAN_PARITY_TOKEN", raising=False)
    assert "WAN_PARITY_TOKEN" in refused(capsys, tmp_path, "--host", host)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lora-root", "no/such/folder"], "--lora-root: folder not found: no/such/folder"),
        (["--checkpoint", "wan21_14b"], "MODEL=DIR"),
        (["--checkpoint", "wan21_14=a/b"], "did you mean wan21_14b"),
        (["--checkpoint", "wan21_14b=./gone"], "neither a folder nor a Hub id"),
        (["--base-url", "gpu1:8000"], "must be of the form http"),
        (["--token-file", "gone.txt"], "cannot be read"),
        (["--host", "192.0.2.1", "--token-file", "TOKEN"], "cannot bind"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_usage(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "token").write_text("0123456789abcdef\n")
    arguments = [str(tmp_path / "token") if word == "TOKEN" else word for word in arguments]
    assert message in refused(capsys, tmp_path, *arguments)


@pytest.mark.process
def test_one_server_a_data_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with process(tmp_path / "data", python=python()):
        arguments = ["serve", "--lora-root", JOBS, "--data", str(tmp_path / "data"), "--port", "0"]
        assert main(arguments) == 2
    assert "already used by another server" in capsys.readouterr().err


@pytest.mark.parametrize(
    "token",
    ["0123456789abcde", "with blanks in it, long", "ünsendable-in-a-header"],
    ids=("length", "blanks", "umlaut"),
)
def test_invalid_tokens(token: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(token)
    with pytest.raises(UsageError) as caught:
        read_token(tmp_path / "token")
    assert token not in str(caught.value)


@pytest.mark.process
def test_loopback() -> None:
    assert all(is_loopback(host) for host in ("127.0.0.1", "127.0.0.2", "::1", "localhost"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "::", "", "10.0.0.1", "localhost.example"))


@pytest.mark.process
def test_without_the_extra_there_is_one_message(tmp_path: Path) -> None:
    code = (
        "import sys\nimport importlib.util as u\nfind = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'fastapi' else find(name, *a)\n"
        "from parity.cli.main import main\nsys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "serve", "--lora-root", JOBS, "--data", str(tmp_path / "data")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "parity: `parity serve` needs more packages: pip install 'wan-parity[server]'\n"


@pytest.mark.process
def test_only_serve_imports_the_servers_packages() -> None:
    code = (
        "import sys\nfrom parity.cli.main import main\nmain(['models'])\n"
        "found = {'fastapi', 'uvicorn', 'starlette', 'prometheus_client'} & set(sys.modules)\n"
        "sys.exit(f'imported {found}' if found else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
