"""Errors about missing, superfluous or mis-shaped weights name the weight."""

import re

import numpy as np
import pytest
from interop_case import HIDDEN, draw
from interop_cases import CASES

NAMED = [case for case in CASES if case.framework in ("torch", "flax", "haiku")]
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
every_named_case = pytest.mark.parametrize("case", NAMED, ids=lambda case: case.name)

# Optional weights. Without them, the weights are those of another valid layer, so no error is due.
OPTIONAL = {
    "torch-lstm-1-no-bias-proj": ["weight_hr_l0"],
    "flax-mgucell": ["hn/bias"],
    "haiku-vanillarnn": ["vanilla_rnn/linear_1/b"],
}


def leaves_with_owners(weights):
    """For each array: its name, the dict or list that holds it, and its key there."""
    items = weights.items() if isinstance(weights, dict) else enumerate(weights)
    for key, value in items:
        if isinstance(value, dict):
            for name, owner, inner in leaves_with_owners(value):
                yield f"{key}/{name}", owner, inner
        elif isinstance(weights, list):
            yield ("kernel", "recurrent_kernel", "bias")[key], weights, key
        else:
            yield key, weights, key


def changed(case):
    """For each array: its name, a copy of the weights, and the place of the array in the copy."""
    for name, _, _ in leaves_with_owners(case.weights()):
        weights = case.weights()
        (place,) = [place for found, *place in leaves_with_owners(weights) if found == name]
        yield name, weights, *place


@every_named_case
def test_a_missing_entry(case):
    for name, weights, owner, key in changed(case):
        if name in OPTIONAL.get(case.name, []):
            continue
        rank = owner.pop(key).ndim
        if not owner and case.framework == "haiku":
            continue  # the module is missing as a whole
        with pytest.raises(ValueError, match="is missing") as error:
            case.read(weights)
        wanted = rf"`{name.replace('if_', 'if')}` of shape \(([^()]*)\) is missing"  # linen's name
        (shape,) = re.findall(wanted, str(error.value))
        assert len(shape.rstrip(",").split(",")) == rank


@every_case
def test_a_superfluous_entry(case):
    if case.framework == "onnx":
        return  # its arrays are arguments, so Python refuses
    weights, extra = case.weights(), draw((3, 1), seed=5)
    name = "extra`"
    if isinstance(weights, list):
        name = "`bias`" if len(weights) == 2 else "`weights[3]`"
        weights.append(extra)
    else:
        owner = weights
        while isinstance(next(iter(owner.values())), dict):
            owner = next(iter(owner.values()))
        owner["extra"] = extra
    with pytest.raises(ValueError, match=r"must (not be there|have shape)") as error:
        case.read(weights)
    assert name in str(error.value)
    assert "3,1" in str(error.value).replace(" ", "")


@every_case
def test_a_mis_shaped_entry(case):
    """Twice the gates, or one axis too many. The error names the entry and both shapes."""
    rows_first = case.framework in ("torch", "onnx")
    for more_axes in (False, True):
        for name, weights, owner, key in changed(case):
            array = owner[key]
            if more_axes:
                owner[key] = array[None]
            else:
                axis = 1 if case.framework == "onnx" else 0 if rows_first else -1
                owner[key] = np.concatenate([array, array], axis)
            with pytest.raises(ValueError, match="must have shape") as error:
                case.read(weights)
            if (case.name, name) == ("haiku-lstm", "lstm/linear/w") and not more_axes:
                name = "lstm/linear/b"  # its one matrix determines all sizes
                found = (4 * HIDDEN,)
            else:
                found = owner[key].shape
            assert re.search(
                rf"`{re.escape(name)}` must have shape \([^`]*\).*, got {re.escape(str(found))}",
                str(error.value),
            ), str(error.value)
