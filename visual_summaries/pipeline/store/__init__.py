"""Tables on a file system: atomic shards, manifests, resume. Needs pyarrow only."""
