"""Samplers measured: what each makes of the shapes model, and how near it follows its reference."""
