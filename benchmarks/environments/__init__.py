"""Virtual environments of other programs, made from whole lists of exact versions."""
