"""The short way for usual tensors says the same as the long one, or nothing."""

import math

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import millrace
from millrace.errors import InvalidInput
from millrace.serving import V2ModelServer
from millrace.serving.models.outputs import encode_outputs
from millrace.serving.models.tensors import decode_inputs
from millrace.serving.models.usual import read_usual, write_usual

ODD = [None, True, "1", "", [], [1], {}, 1.5, -1, 2**63, 2**64, 10**400, 1e39, 1e308, math.nan, math.inf]
UNUSUAL = [">f4", ">i8", "float16", "complex64", "U3"]


@st.composite
def nearly_right(draw):
    """A tensor of 1 to 6 numbers, flat or in rows, in which one thing may be odd."""
    shape = [draw(st.integers(1, 3)), draw(st.integers(1, 2))]
    rows = [[draw(st.integers(0, 9)) for _ in range(shape[1])] for _ in range(shape[0])]
    datatype = draw(st.sampled_from(["FP32", "INT64"]))
    tensor = {"name": draw(st.sampled_from("xy")), "shape": shape, "datatype": datatype}
    tensor["data"] = draw(st.sampled_from([rows, [value for row in rows for value in row]]))
    odd = draw(st.sampled_from(ODD))
    where = draw(st.sampled_from(["", *tensor, "parameters", "element", "size", "row"]))
    changed = {"element": tensor["data"], "size": shape, "row": rows[-1]}.get(where)
    if changed is not None:
        changed[-1] = odd
        if where == "row" and draw(st.booleans()):
            changed.pop()
    elif where:
        tensor[where] = odd
    return tensor


@settings(deadline=None, max_examples=500)
@given(st.lists(nearly_right(), min_size=1, max_size=2))
def test_what_the_short_way_reads_the_long_way_reads_alike(inputs):
    found = read_usual(inputs)
    if found is None:
        return
    expected = decode_inputs({"inputs": inputs})
    assert type(found) is type(expected)
    for name in expected if isinstance(expected, dict) else [...]:
        short, long = found[name], expected[name]
        assert (short.dtype, short.shape, short.flags.writeable) == (long.dtype, long.shape, True)
        np.testing.assert_array_equal(short, long)


@pytest.mark.parametrize("datatype", ["FP32", "FP64", "INT32", "INT64"])
@pytest.mark.parametrize("data", [[1, 2, 3, 4, 5, 6], [[1, 2, 3], [4, 5, 6]]])
def test_flat_and_nested_numbers_are_usual(datatype, data):
    tensor = {"name": "x", "shape": [2, 3], "datatype": datatype, "data": data}
    np.testing.assert_array_equal(read_usual([tensor]), np.arange(1, 7).reshape(2, 3))
    assert list(read_usual([tensor, tensor | {"name": "y"}])) == ["x", "y"]


def test_an_array_is_taken_as_it_is_where_the_tensor_says_the_same():
    array = np.array([[1, np.nan]], dtype="f4")
    tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": array}
    others = ({"shape": [2, 1]}, {"shape": [True, 2]}, {"datatype": "FP64"}, {"data": array.astype(">f4")})
    assert read_usual([tensor]) is array
    assert [read_usual([tensor | other]) for other in others] == [None] * 4


@pytest.mark.parametrize("count", [3, 300])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_are_not_usual(count, bad):
    tensor = {"name": "x", "shape": [count], "datatype": "FP64", "data": [1.0] * (count - 1) + [bad]}
    assert read_usual([tensor]) is None
    with pytest.raises(InvalidInput, match=f"element {count - 1} of input 'x' is"):
        decode_inputs({"inputs": [tensor]})


@pytest.mark.parametrize("count", [1, 300])
def test_a_number_that_float32_can_not_hold_is_not_usual(count):
    tensor = {"name": "x", "shape": [count], "datatype": "FP32", "data": [0.0] * (count - 1) + [1e39]}
    assert read_usual([tensor]) is None


@pytest.mark.parametrize("shape", [[True, 2], [-1, -2], [2, 1.0], [2, 1, 0], [2, 2], "2", None, [2] * 70])
def test_a_shape_that_is_wrong_or_not_that_of_the_data_is_not_usual(shape):
    assert read_usual([{"name": "x", "shape": shape, "datatype": "FP32", "data": [1, 2]}]) is None


@pytest.mark.parametrize("count", [2, 300])
def test_large_numbers_are_read_though_their_sum_is_infinite(count):
    class Largest(V2ModelServer):
        def predict(self, body):
            return body["inputs"].max(keepdims=True)

    function = millrace.new_function("finite", kind="serving")
    function.set_topology("router").add_route("m", class_name=Largest, model=1)
    tensor = {"name": "x", "shape": [count], "datatype": "FP64", "data": [1.7e308] * count}
    with function.to_mock_server() as server:
        assert server.test("/v2/models/m/infer", {"inputs": [tensor]})["outputs"][0]["data"] == [1.7e308]


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint64", "float32", "float64", *UNUSUAL])
@pytest.mark.parametrize("shape", [(), (0,), (4,), (2, 3)])
def test_what_the_short_way_writes_the_long_way_writes_alike(dtype, shape):
    array = np.ones(shape, dtype)
    for one in (array, array.T, np.repeat(array, 2, axis=-1)[..., ::2] if shape else array):
        short = write_usual("y", one)
        if short is not None:
            (long,), chunks = encode_outputs(one, names=["y"])
            texts = [orjson.dumps(output, option=orjson.OPT_SERIALIZE_NUMPY) for output in (short, long)]
            assert (texts[0], chunks) == (texts[1], [])
    assert (write_usual("y", array) is None) == (dtype in UNUSUAL)


@pytest.mark.parametrize("value", [[1, 2], 5, "text", np.float32(1), {"a": np.ones(2)}, None])
def test_what_is_no_array_is_not_usual(value):
    assert write_usual("y", value) is None
