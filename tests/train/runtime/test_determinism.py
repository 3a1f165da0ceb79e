import os
import subprocess
import sys

import pytest

from tests.support import ROOT
from tests.support.shards import make_data
from tests.support.training import trainings


@pytest.mark.slow
def test_two_equal_runs_with_deterministic_algorithms_end_with_equal_bits(tmp_path):
    data = make_data(tmp_path / "data", records=3, evaluation=1, size=80)
    for name in ("a", "b"):
        flags = trainings.command(data, tmp_path / name, "--deterministic", "--max-epoch", 2)
        trainings.train(tmp_path / name, *flags)
    assert trainings.results(tmp_path / "a") == trainings.results(tmp_path / "b")


def test_the_flag_lets_torch_use_deterministic_algorithms_alone_and_sets_the_workspace_of_cublas():
    code = (  # a process of its own, because the setting is global
        "import os, torch\n"
        "from train.runtime.determinism import use_deterministic_algorithms\n"
        "use_deterministic_algorithms()\n"
        "print(torch.are_deterministic_algorithms_enabled(), os.environ['CUBLAS_WORKSPACE_CONFIG'])"
    )
    environment = {name: value for name, value in os.environ.items() if name != "CUBLAS_WORKSPACE_CONFIG"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout == "True :4096:8\n", done.stderr
