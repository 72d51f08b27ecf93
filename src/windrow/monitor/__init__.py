"""Looking at a run: snapshots and rates (pure), terminal views, the report, and the thread that watches a run."""
