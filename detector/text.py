"""Foreign text made fit to be shown and stored: no control characters, no lone surrogates, not endless."""


def printable(text: object, limit: int = 300) -> str:
    """`text` with whatever cannot be shown as an escape, cut to `limit` characters."""
    whole = str(text)
    cut = whole if len(whole) <= limit else whole[: limit - 1] + "…"
    if cut.isprintable():
        return cut
    return "".join(
        character
        if character.isprintable()
        else character.encode("unicode_escape", "surrogatepass").decode("ascii")
        for character in cut
    )


def is_plain(text: str) -> bool:
    """Whether `text` can be stored anywhere: no control characters (NUL first of all), no lone surrogates."""
    return not any(
        character < " " or character == "\x7f" or "\ud800" <= character <= "\udfff" for character in text
    )
