"""The three stores. No Faust here: a sink takes batches of one partition and returns when they are durable."""
