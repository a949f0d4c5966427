"""HTTP views of the worker."""
