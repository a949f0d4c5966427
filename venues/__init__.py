"""The only place that knows a venue's words."""
