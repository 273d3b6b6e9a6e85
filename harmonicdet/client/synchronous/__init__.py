"""The client without `await`, written by `make client` from `asynchronous`; all but `backend` and this."""
