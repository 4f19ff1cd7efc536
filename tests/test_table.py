"""The table of cases is complete."""

import inspect
import pkgutil
from importlib import import_module

from cases import CASES

import eqx_rnn
import eqx_rnn._cells
import eqx_rnn._wrappers


def final_cells():
    for package in (eqx_rnn._cells, eqx_rnn._wrappers):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            for value in vars(import_module(module.name)).values():
                if (
                    inspect.isclass(value)
                    and issubclass(value, eqx_rnn.RNNCellBase)
                    and not inspect.isabstract(value)
                    and not getattr(value, "__abstractvars__", ())
                    and not issubclass(value, eqx_rnn.SequentialCell)  # has its own tests
                    and value is not eqx_rnn.Pointwise  # has its own tests
                    and value is not eqx_rnn._wrappers.MaskedCell  # only `begin` makes it
                ):
                    yield value


def test_every_cell_is_exported_and_has_a_case():
    cells = set(final_cells())
    assert len(cells) >= 12
    assert {getattr(eqx_rnn, cell.__name__, None) for cell in cells} == cells
    assert {type(case.cell()) for case in CASES} == cells


def test_names_are_unique():
    assert len({case.name for case in CASES}) == len(CASES)
