"""The statistics that outlive the rows they were taken from."""
