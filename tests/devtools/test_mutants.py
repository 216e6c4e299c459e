from __future__ import annotations

import pytest

from devtools.mutants import mutants


def changes(source: str) -> list[str]:
    """Function and change of each mutant."""
    return [f"{mutant.function}: {mutant.change}" for mutant in mutants(source, "module.py")]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = a < b", ["x = a < b -> x = a <= b"]),
        ("x = a and b", ["x = a and b -> x = a or b"]),
        ("x = a + b", ["x = a + b -> x = a - b"]),
        ("x += y", ["x += y -> pass", "x += y -> x -= y"]),
        ("x = not y", ["x = not y -> x = y"]),
        ("x = -y", ["x = -y -> x = y"]),
        ("x = 1", ["x = 1 -> x = 2"]),
        ("x = True", ["x = True -> x = False"]),
        ("x = 'a'", ["x = 'a' -> x = ''"]),
        ("x = ''", ["x = '' -> x = 'mutated'"]),
        ("x = b'a'", ["x = b'a' -> x = b''"]),
        ("x = f'a{b}'", ["x = f'a{b}' -> x = f'{b}'"]),
        ("x = None", []),
        ("x.y = z", ["x.y = z -> pass"]),
        ("x = y", []),
        ("raise x", ["raise x -> pass"]),
        ("del x[y]", ["del x[y] -> pass"]),
        ("f(x)", ["f(x) -> pass"]),
        ("x = y.strip()", ["x = y.strip() -> x = y"]),
        ("x = min(y, z)", ["x = min(y, z) -> x = max(y, z)"]),
        ("x = sorted(y, key=z)", ["x = sorted(y, key=z) -> x = list(y)"]),
        ("if x: pass", ["x -> not x"]),
        ("if not x: pass", ["not x -> x"]),
        ("if x == y: pass", ["x == y -> x != y"]),
        ("if x > y: pass", ["x > y -> not x > y", "x > y -> x >= y"]),
        ("while x:\n break", ["x -> not x", "break -> continue"]),
        ("z = [x for x in y if x]", ["z = [x for x in y if x] -> z = [x for x in y if not x]"]),
    ],
)
def test_each_operator(source: str, expected: list[str]) -> None:
    assert changes(source) == [f": {change}" for change in expected]


@pytest.mark.parametrize(
    "source",
    [
        '"""Text."""',
        "def f(x: 'a' = None) -> 'b': ...",
        "@f(frozen=True)\nclass A: ...",
        "class A:\n __slots__ = ('a', 'b')",
        "T = TypeVar('T')",
        "zip(x, y, strict=True)[0]",
        "if TYPE_CHECKING:\n import a\n x = 1",
    ],
)
def test_declarations_stay(source: str) -> None:
    assert [change for change in changes(source) if "[0]" not in change] == []


def test_a_result_and_a_default_belong_to_their_function() -> None:
    assert changes("class A:\n def f(self, x=1):\n  return x") == [
        "A.f: self, x=1 -> self, x=2",
        "A.f: return x -> return None",
    ]


def test_a_short_expression_is_shown_with_what_is_around_it() -> None:
    assert changes("def f():\n x = g(first + 1, second_of_all_arguments)") == [
        "f: g(first + 1, second_of_all_arguments) -> g(first - 1, second_of_all_arguments)",
        "f: g(first + 1, second_of_all_arguments) -> g(first + 2, second_of_all_arguments)",
    ]


def test_equal_changes_of_a_function_are_counted() -> None:
    assert changes("def f():\n a.b = c\n a.b = c") == ["f: a.b = c -> pass", "f: a.b = c -> pass (2)"]


def test_a_change_does_not_depend_on_the_lines_before() -> None:
    assert changes("x = 1\ndef f(a):\n return a")[1:] == changes("def f(a):\n return a")


def test_the_code_has_this_fault_only() -> None:
    values = []
    for mutant in mutants("x = 1\ny = 2", "module.py"):
        names: dict[str, int] = {}
        exec(mutant.code, names)
        values.append((names["x"], names["y"], mutant.lines))
    assert values == [(2, 2, (1, 1)), (1, 3, (2, 2))]
