"""The routes, a file per resource: parse, call one verb of the store, answer."""
