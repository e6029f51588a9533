"""ONNX files that llmkit writes, read with the package `onnx` and run with ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import numpy_helper

from llmkit.encoders.runtime import onnx_file

SHAPES = arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)


@given(
    st.text(min_size=1, max_size=8).filter(lambda text: "\0" not in text),
    st.one_of(
        arrays.arrays(np.float32, SHAPES, elements=st.floats(width=32, allow_nan=False)),
        arrays.arrays(np.int64, SHAPES),
    ),
)
def test_a_tensor_is_read_back_bit_for_bit(name, value):
    read = onnx.TensorProto.FromString(onnx_file.tensor(name, value))
    assert read.name == name
    back = numpy_helper.to_array(read)
    assert back.dtype == value.dtype
    assert back.shape == value.shape
    assert back.tobytes() == value.tobytes()


@given(
    st.dictionaries(
        st.sampled_from(["axis", "perm", "epsilon", "keepdims"]),
        st.one_of(
            st.integers(-(2**63), 2**63 - 1),
            st.floats(width=32, allow_nan=False),
            st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=5),
        ),
    )
)
def test_attributes_are_read_back(attributes):
    read = onnx.NodeProto.FromString(onnx_file.node("Softmax", ["a", "b"], ["c"], **attributes))
    assert (read.op_type, list(read.input), list(read.output)) == ("Softmax", ["a", "b"], ["c"])
    back = {one.name: onnx.helper.get_attribute_value(one) for one in read.attribute}
    assert {
        key: list(value) if isinstance(attributes[key], list) else value for key, value in back.items()
    } == attributes


def test_a_model_passes_the_checker_and_runs():
    nodes = [
        onnx_file.node("Cast", ["ids"], ["wide"], to=onnx_file.FLOAT),
        onnx_file.node("Transpose", ["wide"], ["turned"], perm=[1, 0]),
        onnx_file.node("MatMul", ["wide", "turned"], ["product"]),
        onnx_file.node("Mul", ["product", "half"], ["out"]),
    ]
    made = onnx_file.model(
        nodes,
        [onnx_file.tensor("half", np.array(0.5, np.float32))],
        [onnx_file.value_info("ids", onnx_file.INT64, ["batch", 3])],
        [onnx_file.value_info("out", onnx_file.FLOAT, ["batch", "batch"])],
    )
    onnx.checker.check_model(onnx.load_from_string(made), full_check=True)
    session = onnxruntime.InferenceSession(made, providers=["CPUExecutionProvider"])
    ids = np.array([[1, 2, -3], [4, 0, 6]], np.int64)
    assert np.array_equal(session.run(None, {"ids": ids})[0], (ids @ ids.T) / 2)
