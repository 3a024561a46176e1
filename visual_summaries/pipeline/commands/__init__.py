"""What a person asks for: one file a command, which the jobs call."""
