"""The codec against numpy, the text of the protocol, and tritonclient, which is the protocol's own client."""

import re
import tracemalloc
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput, InferResult

from millrace.errors import BadRequest, InvalidInput
from millrace.serving.models.tensors import (
    check_declared,
    decode_inputs,
    encode_outputs,
    is_tensor_request,
    join_binary,
    split_binary,
)

NUMPY_DTYPES = {
    "BOOL": "bool", "UINT8": "uint8", "UINT16": "uint16", "UINT32": "uint32", "UINT64": "uint64", "INT8": "int8",
    "INT16": "int16", "INT32": "int32", "INT64": "int64", "FP16": "float16", "FP32": "float32", "FP64": "float64",
}  # fmt: skip
JSON_DATATYPES = sorted(set(NUMPY_DTYPES) - {"FP16"})


def tensor(data: Any, *, shape: Any, datatype: Any = "FP32", name: Any = "x") -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": datatype, "data": data}


def decode(data: Any, *, shape: Any, datatype: Any = "FP32") -> Any:
    return decode_inputs({"inputs": [tensor(data, shape=shape, datatype=datatype)]})


def sent(array: np.ndarray, datatype: str, *, binary: bool) -> Any:
    """What the server decodes when tritonclient sends this array."""
    infer_input = InferInput("x", list(array.shape), datatype).set_data_from_numpy(array, binary_data=binary)
    body, json_length = InferenceServerClient.generate_request_body([infer_input])
    head, rest = (orjson.loads(body), None) if json_length is None else split_binary(body, json_length)
    return decode_inputs(head, rest)


def received(result: Any, **options: Any) -> InferResult:
    """What tritonclient parses when the server answers with this result."""
    outputs, chunks = encode_outputs(result, **options)
    head = orjson.dumps({"model_name": "m", "outputs": outputs}, option=orjson.OPT_SERIALIZE_NUMPY)
    if not chunks:
        return InferenceServerClient.parse_response_body(head)
    body, json_length = join_binary(head, chunks)
    return InferenceServerClient.parse_response_body(body, header_length=json_length)


def extremes(datatype: str) -> np.ndarray:
    dtype = np.dtype(NUMPY_DTYPES[datatype])
    if dtype.kind == "b":
        return np.array([[True, False], [False, True]])
    info = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    return np.array([[info.min, info.max], [0, 1]], dtype=dtype)


# --- which dialect


def test_a_body_whose_first_input_has_a_datatype_is_a_tensor_request():
    assert is_tensor_request({"inputs": [tensor([1], shape=[1])]}) is True


@pytest.mark.parametrize(
    "body",
    [None, [], "inputs", {}, {"inputs": []}, {"inputs": {}}, {"inputs": [[1, 2]]}, {"inputs": [{"age": 3}]}, {1: 2}],
    ids=str,
)
def test_rows_and_junk_are_no_tensor_request(body):
    assert is_tensor_request(body) is False


# --- tritonclient to us


@pytest.mark.parametrize("datatype", JSON_DATATYPES)
def test_json_tensor_of_tritonclient_is_decoded_to_the_array_it_was_made_from(datatype):
    array = extremes(datatype)
    decoded = sent(array, datatype, binary=False)
    np.testing.assert_array_equal(decoded, array, strict=True)


@pytest.mark.parametrize("datatype", NUMPY_DTYPES)
def test_binary_tensor_of_tritonclient_is_decoded_to_the_array_it_was_made_from(datatype):
    array = extremes(datatype)
    decoded = sent(array, datatype, binary=True)
    np.testing.assert_array_equal(decoded, array, strict=True)


def test_json_strings_of_tritonclient_become_str():
    decoded = sent(np.array([["é", ""], ["a\0", "日本"]], dtype=object), "BYTES", binary=False)
    assert decoded.tolist() == [["é", ""], ["a\0", "日本"]]


def test_binary_strings_of_tritonclient_stay_bytes():
    decoded = sent(np.array([[b"\xff\x00", b""], [b"ab", "é"]], dtype=object), "BYTES", binary=True)
    assert decoded.tolist() == [[b"\xff\x00", b""], [b"ab", "é".encode()]]


def test_a_single_tensor_of_tritonclient_may_mix_with_binary_ones():
    a = InferInput("a", [3], "FP64").set_data_from_numpy(np.array([1.0, 2, 3]), binary_data=True)
    b = InferInput("b", [2], "INT8").set_data_from_numpy(np.array([4, 5], np.int8), binary_data=False)
    c = InferInput("c", [1], "BYTES").set_data_from_numpy(np.array([b"hey"], object), binary_data=True)
    decoded = decode_inputs(*split_binary(*InferenceServerClient.generate_request_body([a, b, c])))
    assert {name: array.tolist() for name, array in decoded.items()} == {"a": [1, 2, 3], "b": [4, 5], "c": [b"hey"]}


def test_nan_and_infinity_are_legal_in_binary_data():
    array = np.array([np.nan, np.inf, -np.inf], dtype=np.float32)
    np.testing.assert_array_equal(sent(array, "FP32", binary=True), array, strict=True)


@settings(deadline=None, max_examples=150)
@given(st.data(), st.sampled_from(sorted(NUMPY_DTYPES)), arrays_of.array_shapes(min_dims=0, min_side=0, max_side=4))
def test_any_array_survives_the_way_from_tritonclient_to_us(data, datatype, shape):
    finite = {"allow_nan": False, "allow_infinity": False} if datatype.startswith("FP") else {}
    array = data.draw(arrays_of.arrays(NUMPY_DTYPES[datatype], shape, elements=finite))
    is_binary = datatype == "FP16" or data.draw(st.booleans())
    np.testing.assert_array_equal(sent(array, datatype, binary=is_binary), array, strict=True)


@settings(deadline=None, max_examples=150)
@given(st.data(), st.sampled_from(sorted(NUMPY_DTYPES)), arrays_of.array_shapes(min_dims=0, min_side=0, max_side=4))
def test_any_array_survives_the_way_from_us_to_tritonclient(data, datatype, shape):
    finite = {"allow_nan": False, "allow_infinity": False} if datatype.startswith("FP") else {}
    array = data.draw(arrays_of.arrays(NUMPY_DTYPES[datatype], shape, elements=finite))
    result = received(array.T, binary_default=data.draw(st.booleans()))  # .T: not always C-contiguous
    np.testing.assert_array_equal(result.as_numpy("output-0"), array.T)


@settings(deadline=None, max_examples=100)
@given(arrays_of.arrays(object, arrays_of.array_shapes(min_side=0), elements=st.binary(max_size=9)))
def test_any_bytes_survive_both_ways_as_binary(array):
    np.testing.assert_array_equal(sent(array, "BYTES", binary=True), array)
    np.testing.assert_array_equal(received(array, binary_default=True).as_numpy("output-0"), array)


# --- JSON to arrays


def test_the_tensors_of_the_examples_in_the_protocol_are_decoded():
    # inference_rest.md, "Inference Request Examples"; its input1 says shape [3] and shows one value.
    inputs = [
        {"name": "input0", "shape": [2, 2], "datatype": "UINT32", "data": [1, 2, 3, 4]},
        {"name": "input1", "shape": [3], "datatype": "BOOL", "data": [True, False, True]},
    ]
    decoded = decode_inputs({"id": "42", "inputs": inputs, "outputs": [{"name": "output0"}]})
    np.testing.assert_array_equal(decoded["input0"], np.array([[1, 2], [3, 4]], np.uint32), strict=True)
    np.testing.assert_array_equal(decoded["input1"], np.array([True, False, True]), strict=True)


@pytest.mark.parametrize("datatype", JSON_DATATYPES)
def test_nested_data_equals_flat_data(datatype):
    array = np.stack([extremes(datatype)] * 3)
    nested = decode(array.tolist(), shape=[3, 2, 2], datatype=datatype)
    flat = decode(array.ravel().tolist(), shape=[3, 2, 2], datatype=datatype)
    np.testing.assert_array_equal(nested, array, strict=True)
    np.testing.assert_array_equal(flat, array, strict=True)


@pytest.mark.parametrize(("shape", "data"), [([0], []), ([2, 0], [[], []]), ([2, 0, 3], [[], []]), ([0, 7], [])])
def test_tensor_without_elements_keeps_its_shape(shape, data):
    assert decode(data, shape=shape).shape == tuple(shape)


@pytest.mark.parametrize("data", [5, [5]])
def test_tensor_without_dimensions_is_one_value(data):
    np.testing.assert_array_equal(decode(data, shape=[]), np.array(5, np.float32), strict=True)


def test_model_may_write_to_an_array_from_json():
    array = decode([1, 2], shape=[2])
    array += 1
    assert array.tolist() == [2, 3]


def test_true_and_false_count_as_numbers_in_a_tensor_of_numbers():
    assert decode([True, 2.5], shape=[2]).tolist() == [1.0, 2.5]


def test_float_is_rounded_to_the_nearest_fp32():
    assert decode([0.1], shape=[1])[0] == np.float32(0.1)


# --- what is refused


def refused(body: Any, binary: bytes | None = None) -> str:
    with pytest.raises(InvalidInput) as caught:
        decode_inputs(body, binary)
    return str(caught.value)


@pytest.mark.parametrize(
    ("datatype", "value", "shown"),
    [
        ("FP32", "1.5", "'1.5'"), ("FP32", None, "null"), ("FP64", {}, "an object"), ("FP32", 1e39, "1e+39"),
        ("FP64", float("inf"), "inf"), ("FP64", float("nan"), "nan"), ("UINT8", 300, "300"), ("UINT8", -1, "-1"),
        ("INT64", 1.5, "1.5"), ("INT64", 2**63, str(2**63)), ("UINT64", 2**70, "an integer of over 64 bits"),
        ("FP64", 10**400, "an integer of over 64 bits"), ("INT32", "7", "'7'"), ("BOOL", 1, "1"),
        ("BOOL", None, "null"), ("BYTES", 3, "3"), ("BYTES", True, "true"), ("BYTES", None, "null"),
    ],
)  # fmt: skip
def test_value_that_does_not_fit_is_named_with_its_place(datatype, value, shown):
    good = {"BOOL": True, "BYTES": "a"}.get(datatype, 1)
    message = refused({"inputs": [tensor([good, good, value, good], shape=[4], datatype=datatype)]})
    assert message == f"element 2 of input 'x' is {shown}, which is no {datatype} value"


@pytest.mark.parametrize("place", [0, 1, 511, 997, 999])
def test_first_of_two_misfits_is_named_wherever_it_is(place):
    data: list[Any] = [1] * 1000
    data[place] = data[-1] = "no"
    message = refused({"inputs": [tensor(data, shape=[10, 100], datatype="INT16")]})
    assert message.startswith(f"element {place} of")


@pytest.mark.parametrize("key", ["name", "shape", "datatype", "data"])
def test_missing_key_is_named(key):
    request = tensor([1], shape=[1])
    del request[key]
    assert re.match(rf"(input 'x'|inputs\[0\]) has no {key}", refused({"inputs": [request]}))


def test_unknown_datatype_is_answered_with_the_known_ones():
    message = refused({"inputs": [tensor([1], shape=[1], datatype="F32")]})
    assert message == (
        "input 'x' has the datatype 'F32', which is none of BOOL, UINT8, UINT16, UINT32, UINT64, INT8, INT16, INT32, "
        "INT64, FP16, FP32, FP64, BYTES"
    )


@pytest.mark.parametrize("shape", [3, "3", {}, [-1], [1.0], [True], ["2"], [None], [[2]]], ids=str)
def test_shape_that_is_no_list_of_whole_numbers_is_refused(shape):
    message = refused({"inputs": [tensor([1], shape=shape)]})
    assert message == "the shape of input 'x' is not a list of whole numbers of 0 or more"


def test_both_numbers_are_said_when_the_data_is_not_as_long_as_the_shape():
    message = refused({"inputs": [tensor([1, 2, 3, 4, 5], shape=[2, 3])]})
    assert message == "the number of elements of input 'x' is 5, and its shape [2, 3] takes 6"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([[1, 2], [3]], "the data of input 'x' is ragged: in dimension 1 are lists of length 1 and of length 2"),
        ([[1, 2], 3], "the data of input 'x' is ragged: in dimension 1 are values where its shape [2, 2] wants lists"),
        ([[1, 2]], "dimension 0 of the data of input 'x' is 1, and its shape [2, 2] says 2"),
        ([[1, 2, 3], [4, 5, 6]], "dimension 1 of the data of input 'x' is 3, and its shape [2, 2] says 2"),
        ([[[1], [2]], [[3], [4]]], "the data of input 'x' is neither flat nor nested as its shape [2, 2] says: "
                                   "element 0 is a list"),
        ([1, 2, 3, [4]], "the data of input 'x' is neither flat nor nested as its shape [2, 2] says: "
                         "element 3 is a list"),
        ("1234", "the data of input 'x' is '1234', not a list"),
        (None, "input 'x' has no data"),
    ],
)  # fmt: skip
def test_nesting_that_differs_from_the_shape_is_explained(data, message):
    assert refused({"inputs": [tensor(data, shape=[2, 2])]}) == message


@pytest.mark.parametrize("data", [[], [1.0], [[1.0]]], ids=str)
@pytest.mark.parametrize("shape", [[10**12], [2**62], [10**12, 0, 10**12], [2] * 40, [0] + [2**40] * 3], ids=str)
def test_huge_shape_is_refused_before_anything_is_allocated(shape, data):
    tracemalloc.start()
    message = refused({"inputs": [tensor(data, shape=shape)]})
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "input 'x'" in message
    assert peak_bytes < 100_000


def test_huge_shape_of_binary_strings_is_refused_before_anything_is_allocated():
    request = {"name": "x", "shape": [10**12], "datatype": "BYTES", "parameters": {"binary_data_size": 4}}
    assert "the lengths alone of its 1000000000000 strings take 4000000000000" in refused(
        {"inputs": [request]}, b"1234"
    )


def test_fp16_in_json_is_answered_with_the_way_out():
    message = refused({"inputs": [tensor([1.0], shape=[1], datatype="FP16")]})
    assert message == "input 'x' is FP16, which has no JSON form: send it as binary data, or as FP32"


def test_two_inputs_of_one_name_are_refused():
    message = refused({"inputs": [tensor([1], shape=[1]), tensor([2], shape=[1])]})
    assert message == "there are two inputs of the name 'x'"


def test_input_that_is_no_object_is_named_by_its_place():
    message = refused({"inputs": [tensor([1], shape=[1]), [1, 2]]})
    assert message == "inputs[1] is a list, not a tensor with name, shape, datatype and data"


def test_message_quotes_no_more_than_the_beginning_of_a_long_text():
    message = refused({"inputs": [tensor(["y" * 10_000], shape=[1], name="x" * 10_000)]})
    assert len(message) < 250


@pytest.mark.parametrize(
    ("parameters", "binary", "message"),
    [
        ({"binary_data_size": 8}, b"1234567",
         "input 'x' has a binary_data_size of 8, and 7 bytes of binary data are left"),
        ({"binary_data_size": 8}, None, "input 'x' has a binary_data_size of 8, and 0 bytes of binary data are left"),
        ({"binary_data_size": 8}, b"123456789", "1 bytes of binary data belong to no input"),
        ({"binary_data_size": 7}, b"1234567",
         "input 'x' has 7 bytes of binary data, and its shape [2] of float32 takes 8"),
        ({"binary_data_size": -1}, b"", "the binary_data_size of input 'x' is not a whole number of 0 or more"),
        ({"binary_data_size": "8"}, b"", "the binary_data_size of input 'x' is not a whole number of 0 or more"),
        ([8], b"", "the parameters of input 'x' are a list, not an object"),
        ({}, None, "input 'x' has no data"),
    ],
)  # fmt: skip
def test_binary_data_of_the_wrong_size_is_refused(parameters, binary, message):
    request = {"name": "x", "shape": [2], "datatype": "FP32", "parameters": parameters}
    assert refused({"inputs": [request]}, binary) == message


@pytest.mark.parametrize(
    ("chunk", "message"),
    [
        (b"\x01\0\0\0a\x05\0\0\0b", "the binary data of input 'x' ends within string 1 of 2"),
        (b"\x04\0\0\0abcd", "the binary data of input 'x' ends before string 1 of 2"),
        (b"\0\0\0\0\0\0\0\0z", "the binary data of input 'x' has 1 bytes after the last of 2 strings"),
    ],
)
def test_binary_strings_that_do_not_add_up_are_refused(chunk, message):
    request = {"name": "x", "shape": [2], "datatype": "BYTES", "parameters": {"binary_data_size": len(chunk)}}
    assert refused({"inputs": [request]}, chunk) == message


def test_binary_bool_other_than_0_and_1_is_refused():
    request = {"name": "x", "shape": [2], "datatype": "BOOL", "parameters": {"binary_data_size": 2}}
    assert (
        refused({"inputs": [request]}, b"\1\2") == "input 'x' is BOOL, and its binary data has bytes other than 0 and 1"
    )


def test_data_beside_binary_data_is_refused():
    request = tensor([1.0], shape=[1]) | {"parameters": {"binary_data_size": 4}}
    assert "both data and a binary_data_size" in refused({"inputs": [request]}, b"1234")


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
NEARLY_A_TENSOR = st.fixed_dictionaries(
    {},
    optional={
        "name": st.just("x") | JUNK,
        "shape": st.lists(st.integers(0, 3), max_size=3) | st.lists(st.integers(), max_size=3) | JUNK,
        "datatype": st.sampled_from([*NUMPY_DTYPES, "BYTES"]) | JUNK,
        "data": st.lists(st.integers(0, 300) | JUNK, max_size=4) | JUNK,
        "parameters": st.fixed_dictionaries({}, optional={"binary_data_size": st.integers(-1, 40) | JUNK}) | JUNK,
    },
)


@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(JUNK | st.fixed_dictionaries({"inputs": st.lists(NEARLY_A_TENSOR | JUNK, max_size=3)}), st.binary(max_size=40))
def test_junk_raises_nothing_but_invalid_input(body, binary):
    try:
        decode_inputs(body, binary)
    except InvalidInput as error:
        assert str(error)


@settings(deadline=None)
@given(st.binary(max_size=40) | JUNK.map(lambda junk: orjson.dumps(repr(junk))), st.integers(-2, 50))
def test_junk_that_is_split_raises_nothing_but_bad_request(raw, json_length):
    try:
        split_binary(raw, json_length)
    except BadRequest as error:
        assert str(error)


@settings(deadline=None)
@given(st.lists(st.fixed_dictionaries({"name": JUNK}, optional={"parameters": JUNK}) | JUNK, max_size=3) | JUNK)
def test_junk_in_the_requested_outputs_raises_nothing_but_invalid_input(requested):
    try:
        encode_outputs([1.0], requested=requested)
    except InvalidInput as error:
        assert str(error)


# --- binary bodies


def test_split_gives_the_object_and_a_view_of_the_rest():
    raw = b'{"inputs":[]}rest'
    head, rest = split_binary(raw, 13)
    assert head == {"inputs": []}
    assert (rest.obj, bytes(rest)) == (raw, b"rest")


@pytest.mark.parametrize(
    ("raw", "json_length", "message"),
    [
        (b"{}", 3, "Inference-Header-Content-Length is 3, and the body has 2 bytes"),
        (b"{}", 0, "Inference-Header-Content-Length is 0, and the body has 2 bytes"),
        (b"{}", -1, "Inference-Header-Content-Length is -1, and the body has 2 bytes"),
        (b"{}abc", 3, "the first 3 bytes of the body are not JSON: "),
        (b"[]", 2, "the first 2 bytes of the body are JSON, but not an object"),
    ],
)
def test_body_that_can_not_be_split_is_a_bad_request(raw, json_length, message):
    with pytest.raises(BadRequest, match=re.escape(message)):
        split_binary(raw, json_length)


@pytest.mark.parametrize("padding", [0, 1, 2, 3])
def test_binary_array_is_aligned_and_read_only_wherever_the_json_ends(padding):
    request = {"name": "x", "shape": [2], "datatype": "FP32", "parameters": {"binary_data_size": 8}}
    head = orjson.dumps({"inputs": [request]}) + b" " * padding
    array = decode_inputs(*split_binary(head + np.array([1, 2], "<f4").tobytes(), len(head)))
    assert array.tolist() == [1, 2]
    assert array.flags.aligned
    assert not array.flags.writeable


def test_aligned_binary_data_is_not_copied():
    raw = np.arange(4.0).tobytes()
    request = {"name": "x", "shape": [4], "datatype": "FP64", "parameters": {"binary_data_size": 32}}
    assert np.shares_memory(decode_inputs({"inputs": [request]}, raw), np.frombuffer(raw, np.uint8))


# --- us to tritonclient


@pytest.mark.parametrize("datatype", NUMPY_DTYPES)
@pytest.mark.parametrize("is_binary", [True, False])
def test_tritonclient_reads_the_array_that_the_model_returned(datatype, is_binary):
    array = extremes(datatype)
    read = received(array, binary_default=is_binary).as_numpy("output-0")
    np.testing.assert_array_equal(read, array)
    assert read.dtype == (np.float32 if datatype == "FP16" and not is_binary else array.dtype)


@pytest.mark.parametrize(
    "array", [np.array(["é", ""]), np.array([b"\xc3\xa9", b""]), np.array(["é", b""], dtype=object)]
)
def test_strings_of_every_numpy_kind_are_bytes_tensors(array):
    result = received(
        {"text": array, "raw": array},
        requested=[{"name": "text"}, {"name": "raw", "parameters": {"binary_data": True}}],
    )
    assert result.as_numpy("text").tolist() == ["é", ""]
    assert result.as_numpy("raw").tolist() == [b"\xc3\xa9", b""]


def test_zero_bytes_at_the_end_of_a_string_are_kept():
    assert received([b"a\0", b"bcd"], binary_default=True).as_numpy("output-0").tolist() == [b"a\0", b"bcd"]


def test_the_answer_of_the_example_in_the_protocol_is_written():
    # inference_rest.md, "Inference Request Examples"
    array = np.array([[1.0, 1.1], [2.0, 2.1], [3.0, 3.1]], dtype=np.float32)
    outputs, chunks = encode_outputs(array, requested=[{"name": "output0"}])
    assert orjson.loads(orjson.dumps(outputs, option=orjson.OPT_SERIALIZE_NUMPY)) == [
        {"name": "output0", "shape": [3, 2], "datatype": "FP32", "data": [1.0, 1.1, 2.0, 2.1, 3.0, 3.1]}
    ]
    assert chunks == []


def test_the_binary_answer_of_the_example_in_the_protocol_is_written():
    # extension_binary_data.md, "Examples"
    array = np.zeros((3, 2), dtype=np.float32)
    outputs, chunks = encode_outputs(array, requested=[InferRequestedOutput("output0", binary_data=True)._get_tensor()])
    assert outputs == [{"name": "output0", "shape": [3, 2], "datatype": "FP32", "parameters": {"binary_data_size": 24}}]
    assert chunks == [bytes(24)]


@pytest.mark.parametrize(
    ("result", "datatype", "shape", "data"),
    [
        ([1, 2], "INT64", [2], [1, 2]),
        ([[1.5, 2], [3, 4]], "FP64", [2, 2], [1.5, 2, 3, 4]),
        ([True, False], "BOOL", [2], [True, False]),
        (["a", "bc"], "BYTES", [2], ["a", "bc"]),
        ([["a"], ["b"]], "BYTES", [2, 1], ["a", "b"]),
        ([], "FP64", [0], []),
        (("a", b"b"), "BYTES", [2], ["a", "b"]),
        (7, "INT64", [], [7]),
        ("seven", "BYTES", [], ["seven"]),
        (np.float32(0.5), "FP32", [], [0.5]),
        ([np.float32(0.5), np.float32(2)], "FP32", [2], [0.5, 2]),
        ([np.array([1, 2], np.uint8), np.array([3, 4], np.uint8)], "UINT8", [2, 2], [1, 2, 3, 4]),
        (np.array([1, 2], dtype=object), "INT64", [2], [1, 2]),
        (np.array([[1, 2], [3, 4]], dtype=">i4", order="F"), "INT32", [2, 2], [1, 2, 3, 4]),
        (np.arange(10, dtype=np.int16)[::3], "INT16", [4], [0, 3, 6, 9]),
    ],
)
def test_result_has_the_datatype_of_its_values(result, datatype, shape, data):
    outputs, _ = encode_outputs(result)
    written = orjson.loads(orjson.dumps(outputs, option=orjson.OPT_SERIALIZE_NUMPY))
    assert written == [{"name": "output-0", "shape": shape, "datatype": datatype, "data": data}]


def test_contiguous_array_is_not_copied():
    array = np.arange(6.0).reshape(2, 3)
    outputs, _ = encode_outputs(array)
    assert np.shares_memory(outputs[0]["data"], array)


def test_tritonclient_reads_nan_where_json_has_null_for_nan_and_infinity():
    read = received(np.array([1, np.nan, np.inf], dtype=np.float32)).as_numpy("output-0")
    np.testing.assert_array_equal(read, np.array([1, np.nan, np.nan], np.float32), strict=True)


def test_nan_and_infinity_are_exact_in_binary_outputs():
    array = np.array([np.nan, np.inf, -np.inf])
    np.testing.assert_array_equal(received(array, binary_default=True).as_numpy("output-0"), array, strict=True)


# --- names and choice of outputs


@pytest.mark.parametrize(
    ("names", "requested", "name"),
    [
        ([], None, "output-0"),
        (["y"], None, "y"),
        ([], [{"name": "z"}], "z"),
        (["y"], [{"name": "y"}], "y"),
        ([], [], "output-0"),
    ],
)
def test_single_output_is_called_as_declared_or_else_as_requested(names, requested, name):
    outputs, _ = encode_outputs([1], names=names, requested=requested)
    assert [output["name"] for output in outputs] == [name]


def test_dict_is_several_outputs_in_its_order():
    outputs, _ = encode_outputs({"label": ["cat"], "score": np.array([0.5])}, names=["score", "label"])
    assert [(output["name"], output["datatype"]) for output in outputs] == [("label", "BYTES"), ("score", "FP64")]


def test_requested_outputs_come_alone_and_in_the_order_of_the_request():
    outputs, _ = encode_outputs({"a": [1], "b": [2], "c": [3]}, requested=[{"name": "c"}, {"name": "a"}])
    assert [output["name"] for output in outputs] == ["c", "a"]


def test_binary_data_of_an_output_overrides_that_of_the_request():
    requested = [InferRequestedOutput("a", binary_data=False)._get_tensor(), {"name": "b"}]
    result = received({"a": [1, 2], "b": [3.5]}, requested=requested, binary_default=True)
    assert "data" in result.get_output("a")
    assert result.get_output("b")["parameters"] == {"binary_data_size": 8}
    assert (result.as_numpy("a").tolist(), result.as_numpy("b").tolist()) == ([1, 2], [3.5])


@pytest.mark.parametrize(
    ("requested", "message"),
    [
        ([{"name": "c"}], "there is no output 'c', available: a, b"),
        ([{"name": "a"}, {"name": "a"}], "the output 'a' is requested twice"),
        ([{}], "outputs[0] of the request has no name"),
        ([3], "outputs[0] of the request has no name"),
        ({"name": "a"}, "the requested 'outputs' are an object, not a list"),
        ([{"name": "a", "parameters": True}], "parameters.binary_data of the output 'a' is not true or false"),
        ([{"name": "a", "parameters": {"binary_data": 1}}],
         "parameters.binary_data of the output 'a' is not true or false"),
    ],
)  # fmt: skip
def test_outputs_that_can_not_be_had_are_refused(requested, message):
    with pytest.raises(InvalidInput, match=f"^{re.escape(message)}$"):
        encode_outputs({"a": [1], "b": [2]}, requested=requested)


def test_requested_output_other_than_the_declared_one_is_refused():
    with pytest.raises(InvalidInput, match="there is no output 'z', available: y"):
        encode_outputs([1], names=["y"], requested=[{"name": "z"}])


def test_bytes_that_are_no_text_are_refused_as_json_with_the_way_out():
    with pytest.raises(
        InvalidInput, match=r"output 'output-0' holds bytes that are not UTF-8 text: .* binary_data: true"
    ):
        encode_outputs([b"\xff"])


@pytest.mark.parametrize(
    "result",
    [[[1, 2], [3]], [["a", "b"], ["c"]], ["a", 1], [1, "a"], [1, None], {"y": {"z": 1}}, [{"z": 1}], None, object(),
     np.array([1j]), np.array(["2020-01-01"], "datetime64[D]"), [2**70], {1: [2]}],
    ids=str,
)  # fmt: skip
def test_result_that_is_no_tensor_is_the_fault_of_the_model(result):
    with pytest.raises((TypeError, ValueError), match="output"):
        encode_outputs(result)


def test_single_result_of_a_model_that_declares_several_outputs_is_the_fault_of_the_model():
    with pytest.raises(ValueError, match="declares the outputs a, b: it has to return a dict"):
        encode_outputs([1], names=["a", "b"])


# --- against the model's metadata


@pytest.mark.parametrize(
    ("array", "declared"),
    [
        (np.zeros((8, 4), np.float32), {"name": "x", "datatype": "FP32", "shape": [-1, 4]}),
        (np.zeros((8, 4), np.float32), {"name": "x"}),
        (np.array(["a"], dtype=object), {"name": "x", "datatype": "BYTES", "shape": [1]}),
        (np.array(["a"]), {"name": "x", "datatype": "BYTES", "shape": [-1]}),
        (np.zeros(3, ">i2"), {"name": "x", "datatype": "INT16", "shape": (3,)}),
    ],
)
def test_array_that_is_as_declared_passes(array, declared):
    check_declared(array, declared)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((8, 4)), "input 'x' is FP64, and the model takes FP32"),
        (np.zeros((8, 4), complex), "input 'x' is complex128, and the model takes FP32"),
        (np.zeros((8, 3), np.float32), "input 'x' has the shape [8, 3], and the model takes [-1, 4]"),
        (np.zeros(4, np.float32), "input 'x' has the shape [4], and the model takes [-1, 4]"),
    ],
)
def test_array_that_is_not_as_declared_is_refused(array, message):
    with pytest.raises(InvalidInput, match=re.escape(message)):
        check_declared(array, {"name": "x", "datatype": "FP32", "shape": [-1, 4]})
