"""Pure rules of the venue and of the desk: values in, values out. Standard library only; no clock, no I/O."""
