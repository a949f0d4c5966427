"""The jobs that are measured. Each does the same work: `bench/README.md` says what that is."""
