"""A reference for Core ML packages: evaluates an ML Program's MIL in NumPy, on any system.

It is there to verify and to test, not to be fast: one operation after the other, each as the open
specification of MIL defines it, and every float held in 32 bits. Apple's compiler and hardware
reorder, fuse and round as they see fit; what they do with half precision is imitated on request
(`Arithmetic`), not reproduced.

`package.open_package` reads a `.mlpackage`, `executor.Executor` evaluates one of its functions.
"""
