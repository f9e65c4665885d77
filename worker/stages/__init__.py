"""Compute: values in, values out; `now` is an argument; nothing is read, written or asked."""
