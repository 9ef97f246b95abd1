"""Recipes and the engine that renders them. Knows nothing of cases, comparisons or reports."""
