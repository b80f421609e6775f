"""The axes of a noise schedule, one file each; `runtimes.schedule` puts them together."""
