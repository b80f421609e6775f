"""From a component of a portable bundle to a Core ML package: capture, rewrites, lowering."""
