"""What a person submits: one thin file per verb."""
