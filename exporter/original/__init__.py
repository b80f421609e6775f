"""Single-file checkpoints in the original naming of CompVis and Stability AI.

Keys are renamed to Diffusers' in the weight stream; configs are read off the tensors' shapes.
"""
