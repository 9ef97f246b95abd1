from __future__ import annotations

import os
import subprocess
import sys

import pytest

from parity.results.environment import differences, reaching_the_bits
from pipelines import cpu_kernels
from pipelines.cpu_kernels import PORTABLE, VARIABLE
from pipelines.errors import UsageError
from tests.support.baseline_samples import ENVIRONMENT

SHOW = f"import os; print([os.environ.get(name) for name in {tuple(PORTABLE)}])"


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    outer = {name: value for name, value in os.environ.items() if name not in (*PORTABLE, VARIABLE)}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=outer | environment, capture_output=True, text=True, check=True)


@pytest.mark.process
def test_portable_kernels_are_chosen_before_torch_is_imported_whatever_the_environment_says() -> None:
    done = run(f"import pipelines.engine; {SHOW}", ATEN_CPU_CAPABILITY="default", MKL_CBWR="AVX512")
    assert done.stdout.strip() == str(list(PORTABLE.values()))
    assert done.stderr == ""


@pytest.mark.process
def test_native_kernels_leave_the_environment_alone() -> None:
    done = run(f"import pipelines.engine; {SHOW}", WAN_PARITY_CPU_KERNELS="native", ATEN_CPU_CAPABILITY="default")
    assert done.stdout.strip() == "['default', None, None, None]"


@pytest.mark.process
def test_a_program_that_imports_torch_first_is_warned_and_recorded_as_native() -> None:
    code = (
        "import sys, types; sys.modules['torch'] = types.ModuleType('torch')\n"
        f"import pipelines.engine; {SHOW}\nfrom pipelines.cpu_kernels import in_force; print(in_force())"
    )
    done = run(code)
    assert "torch was imported before wan-parity" in done.stderr
    assert "ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_CBWR=COMPATIBLE MKL_DOMAIN_NUM_THREADS=" in done.stderr
    assert done.stdout.splitlines()[0] == "[None, None, None, None]"
    assert done.stdout.splitlines()[1].startswith("native (")
    assert run(code, **PORTABLE).stderr == ""  # the program was started as the warning says


@pytest.mark.process
def test_torch_computes_with_the_kernels_chosen() -> None:
    code = "import pipelines.engine.torch_setup as setup, torch; print(torch.backends.cpu.get_cpu_capability()); "
    done = run(code + "print(setup.flags()['cpu_kernels'])", ATEN_CPU_CAPABILITY="default")
    assert done.stdout.split() == ["AVX2", "portable"]


def test_an_unknown_mode_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "fast")
    with pytest.raises(UsageError, match="use portable or native"):
        cpu_kernels.apply()


def test_other_cpus_get_no_variables_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PORTABLE:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    cpu_kernels.apply()
    assert not PORTABLE.keys() & os.environ.keys()
    assert cpu_kernels.in_force() == "native (arm64)"


def test_under_portable_kernels_the_cpu_and_its_threads_do_not_count() -> None:
    def environment(kernels: str, **changes: object) -> dict[str, object]:
        flags = {**ENVIRONMENT["flags"], "cpu_kernels": kernels, "threads": changes.pop("threads", 1)}
        return reaching_the_bits({**ENVIRONMENT, **changes, "flags": flags})

    other = {"cpu": "Intel Xeon", "cpu_capability": "AVX512", "threads": 8}
    assert differences(environment("portable"), environment("portable", **other)) == ()
    assert len(differences(environment("native (x86_64)"), environment("native (x86_64)", **other))) == 3
    assert "cpu_kernels portable -> native (x86_64)" in differences(
        environment("portable"), environment("native (x86_64)")
    )
