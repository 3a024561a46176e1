"""What a person calls from Python; `visual_summaries` names it."""
