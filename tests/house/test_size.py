"""What is small can be read: functions fit on a screen, files in a sitting."""

import ast

from tests.house.tree import sources

LONGEST_FUNCTION_LINES = 70
LONGEST_FILE_LINES = 500


def test_a_function_fits_on_a_screen():
    long = [
        f"{source.at(node)} {node.name}: {length} lines"
        for source in sources("src", "tests")
        for node in ast.walk(source.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or node.lineno) - node.lineno + 1) > LONGEST_FUNCTION_LINES
    ]
    assert not long, f"split these; at most {LONGEST_FUNCTION_LINES} lines each"


def test_a_file_is_read_in_one_sitting():
    long = [
        f"{source.path}: {length} lines"
        for source in sources("src", "tests")
        if (length := len(source.text.splitlines())) > LONGEST_FILE_LINES
    ]
    assert not long, f"split these; at most {LONGEST_FILE_LINES} lines each"
