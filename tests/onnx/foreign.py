"""foreign.py FOLDER: autoencoders as another tool would export them, sound ones and unsound ones.

Each rebuilds every row of three columns as their common mean direction: a linear autoencoder of code size 1.
"""

import pathlib
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

folder = pathlib.Path(sys.argv[1])
DIRECTION = np.full((3, 1), 1 / np.sqrt(3), dtype=np.float32)


def save(name, dtype=TensorProto.FLOAT, width=3, inputs=1, outputs=1, lead=("N",)):
    kind = np.float64 if dtype == TensorProto.DOUBLE else np.float32
    direction = np.resize(DIRECTION, (width, 1)).astype(kind)
    weights = [numpy_helper.from_array(direction, "encoder"), numpy_helper.from_array(direction.T.copy(), "decoder")]
    nodes = [
        helper.make_node("MatMul", ["serving_default_x:0", "encoder"], ["code"]),
        helper.make_node("MatMul", ["code", "decoder"], ["StatefulPartitionedCall:0"]),
    ]
    given = [helper.make_tensor_value_info("serving_default_x:0", dtype, [*lead, width])]
    made = [helper.make_tensor_value_info("StatefulPartitionedCall:0", dtype, [*lead, width])]
    if inputs == 2:
        given.append(helper.make_tensor_value_info("mask", dtype, ["N", width]))
    if outputs == 2:
        made.append(helper.make_tensor_value_info("code", dtype, ["N", 1]))
    graph = helper.make_graph(nodes, "autoencoder", given, made, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(folder / name))


save("sound.onnx")
save("wide.onnx", width=5)
save("double.onnx", dtype=TensorProto.DOUBLE)
# PyTorch exports the batch of its example unless it is told that the axis is dynamic.
save("one-row.onnx", lead=(1,))
save("three-axes.onnx", lead=("N", 1))
save("two-inputs.onnx", inputs=2)
save("two-outputs.onnx", outputs=2)
sound = (folder / "sound.onnx").read_bytes()
(folder / "truncated.onnx").write_bytes(sound[: len(sound) // 2])
(folder / "random.onnx").write_bytes(bytes(range(256)) * 4)
(folder / "empty.onnx").write_bytes(b"")
