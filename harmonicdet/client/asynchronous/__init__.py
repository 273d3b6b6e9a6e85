"""The client with `await`: what is written by hand. `make client` writes `synchronous` from it."""
