"""Rules that judge a draft, a file each: what a loop of refinement listens to beside a critic."""
