import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from alkaflow.workflows.blas import best_kernel, cpu_flags, cpu_model, process_environment

AVX2 = {"avx2", "fma"}
AVX512 = AVX2 | {"avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512cd"}


@pytest.mark.parametrize(
    ("flags", "kernel"),
    [
        (AVX512, "SkylakeX"),
        (AVX2, "Haswell"),
        (AVX512 - {"avx512vl"}, "Haswell"),
        ({"sse2"}, None),
        (AVX512 - {"fma"}, None),
    ],
)
def test_never_a_kernel_the_processor_lacks(flags: set[str], kernel: str | None) -> None:
    assert best_kernel(flags) == kernel


def test_what_the_user_set_wins() -> None:
    assert process_environment({"OPENBLAS_CORETYPE": "Zen"}, 1, "auto", AVX512)["OPENBLAS_CORETYPE"] == "Zen"
    assert process_environment({}, 1, "auto", AVX512)["OPENBLAS_CORETYPE"] == "SkylakeX"
    assert process_environment({"OPENBLAS_CORETYPE": "Zen"}, 1, "Haswell", AVX512)["OPENBLAS_CORETYPE"] == "Haswell"
    assert "OPENBLAS_CORETYPE" not in process_environment({}, 1, "keep", AVX512)
    assert "OPENBLAS_CORETYPE" not in process_environment({}, 1, "auto", set())
    assert process_environment({"OMP_NUM_THREADS": "64"}, 2)["OMP_NUM_THREADS"] == "2"


def test_cpuinfo(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: fma avx2\n", encoding="ascii")
    assert cpu_flags(info) == {"fma", "avx2"}
    assert cpu_model(info) == "Some CPU"
    assert cpu_flags(tmp_path / "none") == set()
    assert cpu_model(tmp_path / "none") == "unknown"


def test_the_chosen_kernel_is_the_one_that_pyscf_runs() -> None:
    if best_kernel(cpu_flags()) is None:
        pytest.skip("this processor has no AVX2, so the choice is left to the library")
    environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_CORETYPE"}
    imports = "import json; from pyscf import lib; from alkaflow.workflows.blas import loaded_blas"
    code = f"{imports}; print(json.dumps(loaded_blas()))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=process_environment(environment, 2),
        capture_output=True,
        text=True,
        check=True,
    )
    kernels = [pool["kernel"] for pool in json.loads(done.stdout) if pool["api"] == "openblas"]
    assert kernels
    assert set(kernels) <= {"SkylakeX", "Haswell", "Zen", "Cooperlake", "Sapphirerapids"}
