"""What people and upstream systems do with jobs and batches: push, read, retry, recheck, and why a job waits."""
