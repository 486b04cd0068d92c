"""The published contract against the code."""
