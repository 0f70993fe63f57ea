"""An ONNX file written by hand, in the layout of YuNet's: it takes white squares of 8 pixels for faces of 16."""

from __future__ import annotations

import math
import struct

OUTPUTS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
STRIDES = (8, 16, 32)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _field(number: int, value: int | str | bytes) -> bytes:
    """One field of a protobuf message."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value & (1 << 64) - 1)
    raw = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(raw)) + raw


def _ints(name: str, values: list[int]) -> bytes:
    return _field(5, _field(1, name) + b"".join(_field(8, v) for v in values) + _field(20, 7))


def _node(kind: str, inputs: list[str], output: str, attributes: bytes = b"") -> bytes:
    named = b"".join(_field(1, one) for one in inputs)
    return _field(1, named + _field(2, output) + _field(3, output) + _field(4, kind) + attributes)


def _tensor(name: str, shape: list[int], values: list[float] | list[int], kind: int) -> bytes:
    raw = struct.pack(f"<{len(values)}{'f' if kind == 1 else 'q'}", *values)
    return _field(
        5, b"".join(_field(1, n) for n in shape) + _field(2, kind) + _field(8, name) + _field(9, raw)
    )


def _value(number: int, name: str, shape: list[int]) -> bytes:
    dims = b"".join(_field(1, _field(1, n) if n else _field(2, "n")) for n in shape)
    return _field(number, _field(1, name) + _field(2, _field(1, _field(1, 1) + _field(2, dims))))


def white_squares() -> bytes:
    """The file: at stride 8 the confidence is how white a cell is, at 16 and 32 it is none."""
    graph = _field(2, "g") + _value(11, "input", [1, 3, 320, 320])
    for stride in STRIDES:
        pool = _ints("kernel_shape", [stride, stride]) + _ints("strides", [stride, stride])
        graph += _node("AveragePool", ["input"], f"p{stride}", pool)
        for kind, channels in OUTPUTS.items():
            name, score = f"{kind}_{stride}", kind in ("cls", "obj")
            weight = (1 / 765 if score and stride == 8 else 0.0,) * (3 * channels)
            bias = [0.5, 0.5, math.log(2), math.log(2)] if kind == "bbox" else [0.0] * channels
            graph += _tensor(f"w_{name}", [channels, 3, 1, 1], list(weight), 1)
            graph += _tensor(f"b_{name}", [channels], bias, 1)
            graph += _tensor(f"s_{name}", [3], [1, -1, channels], 7)
            graph += _node(
                "Conv", [f"p{stride}", f"w_{name}", f"b_{name}"], f"c_{name}", _ints("kernel_shape", [1, 1])
            )
            graph += _node("Transpose", [f"c_{name}"], f"t_{name}", _ints("perm", [0, 2, 3, 1]))
            graph += _node("Reshape", [f"t_{name}", f"s_{name}"], name)
    for kind, channels in OUTPUTS.items():
        for stride in STRIDES:
            graph += _value(12, f"{kind}_{stride}", [1, 0, channels])
    return _field(1, 7) + _field(7, graph) + _field(8, _field(2, 11))
