"""The commands that ask a service, each a few lines on the client."""
