"""The work of a run, one file a stage: here alone the sciences meet the runtime. Stages meet only in tables."""
