"""Formats of encoded images, told by the first bytes of a file."""

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_SIGNATURE = b"\xff\xd8\xff"


def image_format(data: bytes) -> str | None:
    """Return `jpeg` or `png`, the formats that records hold; None for any other content."""
    if data.startswith(_JPEG_SIGNATURE):
        return "jpeg"
    return "png" if data.startswith(PNG_SIGNATURE) else None
