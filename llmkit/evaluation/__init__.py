"""Evaluation: tasks, metrics, runs, statistics, and what went wrong where."""
