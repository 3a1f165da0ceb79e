"""Small changes of Python source, one at a time: the mutants of a module."""

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass

COMPARED = {
    **{ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq},
    **{ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In},
}
CALCULATED = {
    **{ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Div},
    **{ast.Mod: ast.Div, ast.Pow: ast.Mult, ast.MatMult: ast.Mult, ast.LShift: ast.RShift, ast.RShift: ast.LShift},
    **{ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitAnd},
}
RENAMED = {"min": "max", "max": "min", "any": "all", "all": "any", "minimum": "maximum", "maximum": "minimum"}
UNTOUCHED = ("annotation", "returns", "decorator_list", "msg")
LONGEST = 120  # characters of a text before or after; of a longer one only the changed part is shown


@dataclass(frozen=True)
class Mutant:
    """One change of a module."""

    function: str  # the function or method, not inside another one, whose body it changes; empty outside of any body
    line: int
    change: str  # "function: before -> after", unique in the module: its name in the list of equivalent mutants
    module: ast.Module
    node: ast.AST
    changed: ast.AST | None  # what replaces the node; none removes it

    def tree(self) -> ast.Module:
        """The changed module."""
        return ast.fix_missing_locations(_replaced(self.module, self.node, self.changed))


def mutants(source: str) -> list[Mutant]:
    """All mutants of a module in the order of its lines."""
    tree = ast.parse(source)
    found: list[Mutant] = []
    seen: dict[str, int] = {}
    for where, body, parent, node in _places(tree):
        for changed in _changes(node):
            change = f"{where or 'module'}: {_described(parent, node, changed)}"
            seen[change] = seen.get(change, 0) + 1
            if seen[change] > 1:
                change += f" (place {seen[change]})"
            found.append(Mutant(where if body else "", node.lineno, change, tree, node, changed))
    return found


def _described(parent, node, changed):
    if changed is None:
        return f"{_text(node)} -> removed"
    before = node if isinstance(node, ast.BinOp | ast.Compare | ast.BoolOp | ast.Call | ast.stmt) else parent
    texts = _text(before), _text(_replaced(before, node, changed))
    return " -> ".join(texts if max(map(len, texts)) <= LONGEST else (_text(node), _text(changed)))


def _text(node):
    if isinstance(node, ast.FunctionDef):
        node = _with(node, decorator_list=[])
    return " ".join(ast.unparse(node).split("\n", 1)[0].split())


def _replaced(root, node, changed):  # a copy of the tree below `root`
    def copied(part):
        if part is node:
            return ast.copy_location(ast.Pass(), node) if changed is None else changed
        if isinstance(part, list):
            return [copied(item) for item in part]
        if not isinstance(part, ast.AST):
            return part
        return ast.copy_location(type(part)(**{name: copied(value) for name, value in ast.iter_fields(part)}), part)

    return copied(root)


def _places(tree) -> Iterator[tuple[str, bool, ast.AST, ast.AST]]:
    """Each node that may change: its function, whether it is in that body, what is around it, and the node."""

    def visit(node, where, body, around):
        for child in _children(node):
            name = where
            # defaults are no part of a function's code
            deeper = body or (isinstance(node, ast.FunctionDef) and not isinstance(child, ast.arguments))
            if isinstance(child, ast.FunctionDef | ast.ClassDef) and not deeper:
                name = f"{where}.{child.name}" if where else child.name
            if isinstance(child, ast.expr | ast.stmt):
                yield name, deeper, around, child
            whole = isinstance(child, ast.expr | ast.stmt | ast.keyword) and not isinstance(child, ast.Tuple)
            yield from visit(child, name, deeper, child if whole else around)

    yield from visit(tree, "", False, tree)


def _children(node):
    for name, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and name not in UNTOUCHED and not _skipped(child):
                yield child


def _skipped(node):
    match node:
        case ast.Assert() | ast.Import() | ast.ImportFrom() | ast.JoinedStr():  # our invariants, and words of messages
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):  # imports of types alone
            return True
        case ast.keyword(arg="strict"):  # of zip: an invariant
            return True
        case ast.Expr(value=ast.Constant()):  # a docstring
            return True
        case ast.BinOp(op=ast.BitOr(), right=ast.Constant(value=None)):  # a type
            return True
    return False


def _changes(node) -> Iterator[ast.AST | None]:
    """The nodes by which one is replaced; None removes a statement."""
    match node:
        case ast.Compare(ops=operators):
            for i, operator in enumerate(operators):
                if new := COMPARED.get(type(operator)):
                    yield _with(node, ops=[*operators[:i], new(), *operators[i + 1 :]])
        case ast.BinOp(op=operator) | ast.AugAssign(op=operator) if type(operator) in CALCULATED:
            yield _with(node, op=CALCULATED[type(operator)]())
            if isinstance(node, ast.AugAssign):
                yield None
        case ast.BoolOp(op=operator):
            yield _with(node, op=ast.Or() if isinstance(operator, ast.And) else ast.And())
        case ast.UnaryOp(op=ast.USub() | ast.Not() | ast.Invert()):
            yield node.operand
        case ast.Constant(value=bool() as value):
            yield _with(node, value=not value)
        case ast.Constant(value=int() as value):
            yield _with(node, value=value + 1)
        case ast.Constant(value=float() as value):
            yield _with(node, value=value * 2 if value else 1.0)
        case ast.Call(func=ast.Name(id=name) as called) if name in RENAMED:
            yield _with(node, func=_with(called, id=RENAMED[name]))
        case ast.Call(func=ast.Attribute(attr=name) as called) if name in RENAMED:
            yield _with(node, func=_with(called, attr=RENAMED[name]))
        case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test) if not isinstance(
            test, ast.Compare | ast.BoolOp | ast.UnaryOp | ast.Constant
        ):
            yield _with(node, test=ast.UnaryOp(ast.Not(), test))
        case ast.Continue() | ast.Break() | ast.Raise() | ast.Expr():
            yield None
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield None


def _with(node, **fields):
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed
