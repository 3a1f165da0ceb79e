"""The mutants of a module are all its small changes, and what is listed as equivalent is one of them."""

import tomllib

from tests.support import ROOT
from tests.support.mutation.operators import mutants
from tests.support.mutation.targets import EQUIVALENT, TARGETS

SOURCE = '''
"""A docstring."""
from typing import TYPE_CHECKING
LIMIT = 0.5


class Box:
    def grow(self, by: int = 2) -> list[int]:
        sizes: list[int] | None = None
        assert by > 0
        if not self.sizes:
            raise ValueError(f"{by + 1} is too much")
        return [min(size + by, 9) for size in self.sizes if size < LIMIT and by]


if TYPE_CHECKING:
    import torch
'''


def test_the_mutants_of_a_module_change_one_thing_each_and_never_messages_types_or_assertions():
    found = mutants(SOURCE)
    assert [(mutant.line, mutant.function, mutant.change) for mutant in found] == [
        (4, "", "module: LIMIT = 0.5 -> LIMIT = 1.0"),
        (
            8,
            "",
            "Box.grow: def grow(self, by: int=2) -> list[int]: -> def grow(self, by: int=3) -> list[int]:",
        ),
        (11, "Box.grow", "Box.grow: if not self.sizes: -> if self.sizes:"),
        (12, "Box.grow", "Box.grow: raise ValueError(f'{by + 1} is too much') -> removed"),
        (13, "Box.grow", "Box.grow: min(size + by, 9) -> max(size + by, 9)"),
        (13, "Box.grow", "Box.grow: size + by -> size - by"),
        (13, "Box.grow", "Box.grow: min(size + by, 9) -> min(size + by, 10)"),
        (13, "Box.grow", "Box.grow: size < LIMIT and by -> size < LIMIT or by"),
        (13, "Box.grow", "Box.grow: size < LIMIT -> size <= LIMIT"),
    ]
    spaces = [{} for _ in found]
    for mutant, space in zip(found, spaces, strict=True):
        exec(compile(mutant.tree(), "box", "exec"), space)
    assert [space["LIMIT"] for space in spaces] == [1.0] + [0.5] * 8


def test_what_is_listed_as_equivalent_is_a_mutant_of_the_code_as_it_is():
    for module, reasons in tomllib.loads(EQUIVALENT.read_text()).items():
        known = {mutant.change for mutant in mutants((ROOT / module).read_text())}
        assert module in TARGETS and set(reasons) <= known and all(reasons.values())


def test_every_module_and_its_tests_are_there():
    for module, target in TARGETS.items():
        assert all((ROOT / path).is_file() for path in (module, *target.tests.split()))
