"""MIL's operations in NumPy: one function each, with MIL's names for its parameters.

A function's signature is what the executor checks a program against before it computes anything: a
parameter without a default is required, one with a `Literal` takes those texts alone, and
`tuple[Array, ...]` takes several values. Floats come and go in float32; integers and bools keep
their dtype. Sizes, axes and flags come as arrays of their own.
"""
