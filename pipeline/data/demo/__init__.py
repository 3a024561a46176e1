"""The built-in demo set: procedural pictures whose telling parts are known, and a small network trained on them."""
