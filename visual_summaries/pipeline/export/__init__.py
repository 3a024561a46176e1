"""What a run's tables become in other tools' formats: COCO's JSON, FiftyOne's, a DuckDB file. Knows no Ray, no jobs."""
