"""Why an archive is refused: one exception per reason, its docstring the sentence, its code stable."""

from detector.errors import DetectorError
from detector.text import printable


class ArchiveRefused(DetectorError):
    """The archive is refused."""

    code = "archive_refused"

    def __init__(self, member: str | None = None, *, detail: str | None = None) -> None:
        sentence = str(type(self).__doc__)
        self.reason = f"{sentence.removesuffix('.')} ({printable(detail)})." if detail else sentence
        where = f"{printable(member)}: " if member is not None else ""
        super().__init__(where + self.reason, hint="Send a plain zip of images and annotations.")
        self.member = member
        self.also: tuple[ArchiveRefused, ...] = ()  # the other reasons found in the same look


class ArchiveUnreadable(ArchiveRefused):
    """The file is not a zip archive that can be read."""

    code = "archive_unreadable"


class ArchiveEmpty(ArchiveRefused):
    """The archive has no files."""

    code = "archive_empty"


class TooManyMembers(ArchiveRefused):
    """The archive has too many files."""

    code = "archive_too_many_members"


class ArchiveTooLarge(ArchiveRefused):
    """The archive unpacks to too many bytes."""

    code = "archive_too_large"


class MemberTooLarge(ArchiveRefused):
    """The file unpacks to too many bytes."""

    code = "archive_member_too_large"


class RatioTooHigh(ArchiveRefused):
    """The file unpacks to far more than its packed size, as zip bombs do."""

    code = "archive_ratio_too_high"


class AbsolutePath(ArchiveRefused):
    """The name is an absolute path."""

    code = "archive_absolute_path"


class PathTraversal(ArchiveRefused):
    """The name leaves the archive through '..'."""

    code = "archive_path_traversal"


class Backslash(ArchiveRefused):
    """The name has a backslash; zip names use '/'."""

    code = "archive_backslash"


class DriveLetter(ArchiveRefused):
    """The name starts with a drive letter."""

    code = "archive_drive_letter"


class ControlCharacter(ArchiveRefused):
    """The name has a NUL or another control character."""

    code = "archive_control_character"


class NameTooLong(ArchiveRefused):
    """The name is too long."""

    code = "archive_name_too_long"


class Symlink(ArchiveRefused):
    """The member is a symbolic link or another special file."""

    code = "archive_symlink"


class Encrypted(ArchiveRefused):
    """The member is encrypted."""

    code = "archive_encrypted"


class CompressionUnknown(ArchiveRefused):
    """The member is packed with a method that cannot be read."""

    code = "archive_compression_unknown"


class DuplicateName(ArchiveRefused):
    """Two members have the same name, or names that differ only in case or Unicode form."""

    code = "archive_duplicate_name"


class NestedArchive(ArchiveRefused):
    """The member is itself an archive."""

    code = "archive_nested"


class MemberCorrupt(ArchiveRefused):
    """The member cannot be unpacked, or its checksum is wrong."""

    code = "archive_member_corrupt"


class MemberMissing(ArchiveRefused):
    """The archive has no such member."""

    code = "archive_member_missing"
