"""Statistics over runs: intervals, paired comparisons, error analysis, risk control."""
