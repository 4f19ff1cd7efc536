"""The new cell in the example of CONTRIBUTING passes the tests of cells."""

import importlib.util
import sys

import cases
import oracles
import pytest
import test_cells
import test_quick
from test_readme import ROOT, blocks

import eqx_rnn
import eqx_rnn._cells

MODULE = "eqx_rnn._cells.leaky"


@pytest.fixture
def case(monkeypatch):
    file, oracle, row = blocks(ROOT / "CONTRIBUTING.md")
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(MODULE, None))
    monkeypatch.setitem(sys.modules, MODULE, module)
    exec(compile(file.code, MODULE, "exec"), vars(module))
    monkeypatch.setattr(eqx_rnn, "LeakyCell", module.LeakyCell, raising=False)
    namespace = dict(vars(oracles))
    exec(oracle.code, namespace)
    monkeypatch.setattr(oracles, "leaky", namespace["leaky"], raising=False)
    return eval(row.code, vars(cases))


def test_a_new_cell(case):
    test_quick.test_all_cells(case)
    test_cells.test_any_number_of_batch_axes(case)
    test_cells.test_docstring_has_equations_shapes_and_source(case)
    test_cells.test_annotated_field_shapes_are_true(case)
