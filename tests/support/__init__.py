"""What the tests share: where things are, small inputs, reference implementations, servers, trainings of their own."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"  # numbers produced by the original
