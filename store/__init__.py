"""What outlives a process, and what the API and the workers agree on: rows, blobs, hints."""
