"""Running a task: the plan, the folder of a run, its scores and traces, and replaying it."""
