"""Pictures of fits and results, on axes of matplotlib; the report draws with the same code."""
