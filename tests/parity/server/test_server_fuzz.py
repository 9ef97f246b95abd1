"""The OpenAPI document, fuzzed by schemathesis: no 5xx, and no answer that the document does not promise."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from parity.server.settings import Limits
from tests.support.serving import PatientEngine, body, finished, settings_of, submit, thread

pytestmark = pytest.mark.process

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
)


def fuzzed(client: httpx.Client, folder: Path, config: str, *arguments: str) -> None:
    (folder / "schemathesis.toml").write_text(config)
    command = [str(Path(sys.executable).with_name("schemathesis")), "--config-file", "schemathesis.toml", "run"]
    command += [f"{client.base_url}/openapi.json", "--checks", ",".join(CHECKS), "--phases", "coverage,fuzzing"]
    command += ["--mode", "all", "--generation-deterministic", "--no-color", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("known", [False, True], ids=["any id", "id of a result"])
def test_fuzzed(known: bool, tmp_path: Path) -> None:
    engine = PatientEngine()
    for _ in range(10_000):
        engine.steps.release()
    with thread(settings_of(tmp_path / "data", limits=Limits(queue=10_000)), engine) as client:
        if not known:
            fuzzed(client, tmp_path, "", "--max-examples", "10")
            return
        request_id = submit(client, body())
        finished(client, request_id)
        config = f"[parameters]\nrequest_id = {json.dumps(request_id)}\n"
        fuzzed(client, tmp_path, config, "--max-examples", "10", "--include-path-regex", "/v1/requests/")
        assert client.get(f"/v1/requests/{request_id}/result").json()["status"] == "succeeded"
