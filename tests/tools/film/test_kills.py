"""A film that is killed in any stage ends up as one that was not."""

import subprocess
import sys

import pytest

from tests.support import ROOT


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_film_that_is_killed_once_in_every_stage_ends_with_the_same_film_network_and_certificate(tmp_path):
    command = [sys.executable, ROOT / "tests/support/film_kills.py", tmp_path, "5"]
    done = subprocess.run([str(word) for word in command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("5 kills in 1 films, each ended with the same film"), done.stdout
