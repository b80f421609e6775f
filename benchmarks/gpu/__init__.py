"""The same measurements on a machine with a GPU, and the checks that await one."""
