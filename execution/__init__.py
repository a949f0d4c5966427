"""The only place money leaves from."""
