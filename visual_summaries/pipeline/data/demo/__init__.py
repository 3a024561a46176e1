"""The built-in demo set: drawn pictures whose telling parts are known, and a small network trained on them."""
