"""Folders that Optimum and Optimum-Intel exported, which have no manifest: one is inferred."""
