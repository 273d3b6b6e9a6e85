"""The HTTP shapes: `<Noun>Create` comes in, `<Noun>View` goes out."""
