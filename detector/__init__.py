"""A library and a command line: images in, numbers out. Knows no web, no queue, no database."""
