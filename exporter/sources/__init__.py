"""The kinds of source: a Diffusers folder, a single-file checkpoint, and parts from elsewhere."""
