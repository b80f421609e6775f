"""One adapter per engine, each importing its own SDK on use."""
