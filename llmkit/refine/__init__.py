"""Refinement loop, critiques and majority votes. This package calls no model; the steps of a pipeline do."""
