"""Which options of the command line stand for which settings; imports nothing, so that --help need not wait."""

OPTIONS = {
    "preset": "--preset",
    "data.images": "--images",
    "data.manifest": "--manifest",
    "model.name": "--model",
    "model.weights": "--weights",
    "output": "--output",
    "ray.address": "--address",
}

NETWORKS = {
    "evaluation.other_models": ("--other-model", "--other-weights"),
    "evaluation.taggers": ("--tagger", "--tagger-weights"),
}
"""Settings that list networks → the option that names another one, and the one that gives it weights."""
