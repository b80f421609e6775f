"""The version of latedge."""

VERSION = "0.1.0"
