"""From saliency maps to visual summaries: pure functions on tensors and arrays."""
