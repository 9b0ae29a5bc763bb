"""Networks as ONNX graphs, put together here and run by onnxruntime.

A graph is made in memory from tensors that were read from safetensors, so a weights file is the one
truth of a network, and no ONNX file of a stranger is ever opened.  A program runs on one thread:
the same inputs give the same outputs, and several cores are used by several processes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

OPSET = 18
IR_VERSION = 9
_FATAL_ONLY = 4  # errors are raised; the log would tell them a second time

onnxruntime.set_default_logger_severity(_FATAL_ONLY)

_LACK_OF_MEMORY = ("Failed to allocate memory", "bad_alloc", "Failed to serialize proto")


class Graph:
    """An ONNX graph that grows node by node.

    Methods take and return the names of values; an array among the inputs of a node becomes a
    constant of the graph.

    Parameters
    ----------
    name : str
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, shape: Sequence[int | str]) -> str:
        """Add an input of float32; a letter in its shape stands for any length."""
        self._inputs.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape))
        return name

    def add(self, operator: str, *inputs: str | np.ndarray, **attributes: Any) -> str:
        """Add a node, and return the name of its first output."""
        name = f"{operator}{len(self._nodes)}"
        names = [self._constant(x) if isinstance(x, np.ndarray) else x for x in inputs]
        self._nodes.append(helper.make_node(operator, names, [name], name, **attributes))
        return name

    def add_convolution(
        self, x: str, tensors: Mapping[str, np.ndarray], layer: str, norm: str, **shape: list[int]
    ) -> str:
        """Add a convolution, its normalisation folded into it, and what is above zero of it.

        Parameters
        ----------
        x : str
        tensors : mapping of str to numpy.ndarray
            Those of ``layer``, with or without a bias, and of ``norm`` have its name before theirs.
        layer, norm : str
        **shape
            ``pads`` and ``strides``.
        """
        names = ("weight", "bias", "running_mean", "running_var")
        weight, bias = fold_batch_norm(
            tensors[f"{layer}.weight"],
            tensors.get(f"{layer}.bias"),
            {name: tensors[f"{norm}.{name}"] for name in names},
        )
        return self.add("Relu", self.add("Conv", x, weight, bias, **shape))

    def add_unit_vectors(self, x: str, weight: np.ndarray, bias: np.ndarray) -> str:
        """Add a linear layer whose rows are brought to unit length."""
        x = self.add("Gemm", x, weight, bias, transB=1)
        length = self.add("Max", self.add("ReduceL2", x, axes(1)), np.array(1e-12, np.float32))
        return self.add("Div", x, length)

    def _constant(self, values: np.ndarray) -> str:
        name = f"constant{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(values, order="C"), name))
        return name

    def program(self, *outputs: str) -> Program:
        """Return the graph as a program that yields these values, float32."""
        graph = helper.make_graph(
            self._nodes,
            self._name,
            self._inputs,
            [helper.make_tensor_value_info(o, onnx.TensorProto.FLOAT, None) for o in outputs],
            self._constants,
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
        )
        with _lack_of_memory_raised():
            return Program(model.SerializeToString())


class Program:
    """A graph that can be run.

    Parameters
    ----------
    model : bytes
        Of ``Graph.program``.
    """

    def __init__(self, model: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = _FATAL_ONLY
        self._session = onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"]
        )
        self._inputs = [each.name for each in self._session.get_inputs()]

    def __call__(self, *inputs: np.ndarray) -> list[np.ndarray]:
        """Return the outputs for inputs, float32 all.

        Raises
        ------
        MemoryError
            If there is too little memory for what lies between them.
        """
        named = dict(zip(self._inputs, inputs, strict=True))
        with _lack_of_memory_raised():
            return list(self._session.run(None, named))


@contextlib.contextmanager
def _lack_of_memory_raised() -> Iterator[None]:
    """Raise MemoryError where the libraries raise errors of their own for a lack of memory."""
    try:
        yield
    except Exception as error:
        if any(text in str(error) for text in _LACK_OF_MEMORY):
            raise MemoryError from None
        raise


def axes(*numbers: int) -> np.ndarray:
    """Return axes as the operators take them."""
    return np.array(numbers, np.int64)


def fold_batch_norm(
    weight: np.ndarray, bias: np.ndarray | None, norm: dict[str, np.ndarray], eps: float = 1e-5
) -> tuple[np.ndarray, np.ndarray]:
    """Return weight and bias of a convolution that does what one and its normalisation did.

    Parameters
    ----------
    weight, bias : numpy.ndarray
        (n_out, ...) and (n_out,), of the convolution.
    norm : dict
        ``weight``, ``bias``, ``running_mean`` and ``running_var`` of the normalisation, (n_out,).
    eps : float
        What was added to the variance in training.

    Raises
    ------
    ValueError
        If float32 cannot hold them.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # told below
        scale = norm["weight"] / np.sqrt(norm["running_var"] + np.float32(eps))
        offset = (0.0 if bias is None else bias) - norm["running_mean"]
        folded = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
        moved = offset * scale + norm["bias"]
    if not (np.isfinite(folded).all() and np.isfinite(moved).all()):
        raise ValueError("a convolution and its normalisation make values that are not finite")
    return folded, moved
