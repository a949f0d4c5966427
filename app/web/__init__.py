"""HTTP views of the worker (design section 4)."""
