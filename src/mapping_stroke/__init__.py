"""MAPPING."""
