"""The NumPy side of latedge: an engine bundle goes in, images come out.

Imports numpy, msgspec and one engine, no torch. The public names are in `latedge`.
"""
