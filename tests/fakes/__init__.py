"""Adapters held in memory, which pass the same contract tests as the real ones."""
