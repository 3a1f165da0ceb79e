"""Reading 16 float32 of a row at once, where the processor can pick them from 32 that follow each other (AVX-512).

A gather loads one value after the other. Where columns advance by about one, the 16 that are read lie within 32:
two loads and one permutation fetch them. numba does not generate this by itself, so its LLVM code is written here.
numba's cache compares only the file of a kernel: after an edit here, touch the kernels that use it.
"""

from typing import Any

import numba
from llvmlite import ir
from numba.core import cgutils, config
from numba.extending import intrinsic

LANES, WINDOW = 16, 32
_INT32, _INT64, _FLOAT = ir.IntType(32), ir.IntType(64), ir.FloatType()
_INTS, _FLOATS = ir.VectorType(_INT32, LANES), ir.VectorType(_FLOAT, LANES)


@intrinsic
def _has_lanes(_: Any) -> Any:
    """Whether `pairs` and `blends` may be called: a constant of the processor that code is compiled for."""

    def codegen(context, builder, signature, arguments):
        features = context.codegen().magic_tuple()[2].split(",")
        return context.get_constant(numba.types.boolean, "+avx512f" in features)

    return numba.types.boolean(), codegen


has_lanes = (lambda: False) if config.DISABLE_JIT else _has_lanes  # type: ignore[attr-defined]


@intrinsic
def pairs(_: Any, values: Any, columns: Any, x: Any, lows: Any, highs: Any) -> Any:
    """Write values[c] to lows and values[c + 1] to highs for the 16 columns c from x on; False if too far apart.

    Values, lows and highs are float32, columns uint32, all contiguous. After the last value comes the last again.
    """

    def codegen(context, builder, signature, arguments):
        values, columns, x, lows, highs = _arrays(context, builder, signature, arguments)
        window = _Window(builder, columns, x, builder.extract_value(values.shape, 0))
        with builder.if_then(window.fits, likely=True):
            for out, picked in zip((lows, highs), window.pick(values.data), strict=True):
                _store(builder, picked, builder.gep(out.data, [x]))
        return window.fits

    return numba.types.boolean(values, columns, x, lows, highs), codegen


@intrinsic
def blends(_: Any, rows: Any, columns: Any, weights: Any, x: Any, out: Any) -> Any:
    """Write row[c] (1 - w) + row[c + 1] w to out, for all rows and the 16 columns c and weights w from x on.

    Rows and out are float32 (C W), each row contiguous, columns uint32, weights float32. False, and nothing is written,
    if the columns are too far apart. After the last column comes the last again.
    """

    def codegen(context, builder, signature, arguments):
        rows, columns, weights, x, out = _arrays(context, builder, signature, arguments)
        window = _Window(builder, columns, x, builder.extract_value(rows.shape, 1))
        with builder.if_then(window.fits, likely=True):
            weight = _load(builder, builder.gep(weights.data, [x]), _FLOATS)
            rest = builder.fsub(ir.Constant(_FLOATS, [1.0] * LANES), weight)
            with cgutils.for_range(builder, builder.extract_value(rows.shape, 0)) as loop:
                low, high = window.pick(_row(builder, rows, loop.index))
                blended = builder.fadd(builder.fmul(low, rest), builder.fmul(high, weight))
                _store(builder, blended, builder.gep(_row(builder, out, loop.index), [x]))
        return window.fits

    return numba.types.boolean(rows, columns, weights, x, out), codegen


class _Window:
    """32 values that hold those of 16 columns and the ones after them, if `fits`."""

    def __init__(self, builder, columns, x, width):
        self.builder = builder
        indices = _load(builder, builder.gep(columns.data, [x]), _INTS)
        first = builder.extract_element(indices, _INT32(0))
        last_start = builder.trunc(builder.sub(width, _INT64(WINDOW)), _INT32)
        start = builder.select(builder.icmp_unsigned("<", first, last_start), first, last_start)
        offsets = builder.sub(indices, _splat(builder, start))
        at_end = builder.icmp_unsigned("==", start, last_start)
        limit = builder.select(at_end, _INT32(WINDOW), _INT32(WINDOW - 1))
        inside = builder.icmp_unsigned("<", offsets, _splat(builder, limit))
        mask = ir.IntType(LANES)
        self.fits = builder.icmp_unsigned("==", builder.bitcast(inside, mask), mask(2**LANES - 1))
        self.start = builder.zext(start, _INT64)
        most = ir.Constant(_INTS, [WINDOW - 1] * LANES)
        following = builder.add(offsets, ir.Constant(_INTS, [1] * LANES))
        following = builder.select(builder.icmp_unsigned("<", following, most), following, most)
        self.offsets = offsets, following

    def pick(self, values):
        """The values of the columns, and those after them."""
        builder, half = self.builder, ir.Constant(_INT64, LANES)
        start = builder.gep(values, [self.start])
        low, high = (_load(builder, place, _FLOATS) for place in (start, builder.gep(start, [half])))
        kind = ir.FunctionType(_FLOATS, [_FLOATS, _INTS, _FLOATS])
        permute = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx512.vpermi2var.ps.512")
        return [builder.call(permute, [low, offsets, high]) for offsets in self.offsets]


def _arrays(context, builder, signature, arguments):
    """The arguments, arrays as structures with data, shape and strides, indices in 64 bits."""
    return [
        context.make_array(kind)(context, builder, argument)
        if isinstance(kind, numba.types.Array)
        else context.cast(builder, argument, kind, numba.types.int64)
        for kind, argument in zip(signature.args, arguments, strict=True)
    ]


def _row(builder, array, index):
    start = builder.ptrtoint(array.data, _INT64)
    offset = builder.mul(index, builder.extract_value(array.strides, 0))
    return builder.inttoptr(builder.add(start, offset), _FLOAT.as_pointer())


def _splat(builder, value):
    vector = ir.VectorType(value.type, LANES)
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), value, _INT32(0))
    return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), ir.Constant(_INTS, [0] * LANES))


def _load(builder, place, vector):
    return builder.load(builder.bitcast(place, vector.as_pointer()), align=4)


def _store(builder, vector, place):
    builder.store(vector, builder.bitcast(place, vector.type.as_pointer()), align=4)
