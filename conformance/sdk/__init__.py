"""What runs in the SDKs' own environment. Imports nothing of the project but its siblings here."""
