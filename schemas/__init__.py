"""What stands on the topics: records and their envelope, the codec, and the catalogue of topics."""
