"""One long-running process per feed. No Faust: the producers translate frames to records and send them."""
