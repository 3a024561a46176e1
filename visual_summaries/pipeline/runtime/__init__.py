"""Ray, and nothing of what the stages do: how work is planned, given to workers, resumed and recorded."""
