"""Programs that change files, stopped at many lines of their code: nothing is lost, and the same command ends well.

tests/support/long_checks.py stops them at every line.
"""

import subprocess
import sys

import pytest

from tests.support import ROOT

HARNESS = ROOT / "tests" / "support" / "hostile" / "interrupts.py"


@pytest.mark.parametrize("how", ["interrupt", "kill"])
@pytest.mark.parametrize(("case", "every"), [("split", 23), ("pull", 11), ("parts", 17)])
def test_what_was_stopped_at_any_line_comes_to_the_same_end(tmp_path, case, how, every):
    subprocess.run([sys.executable, HARNESS, case, how, str(every), tmp_path], check=True)
