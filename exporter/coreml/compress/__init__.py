"""Compressed weights of Core ML packages: look-up tables, whole numbers, bits chosen per layer."""
