"""Image files that hold an image of another size than their header tells, written byte by byte."""

from __future__ import annotations

import io
import struct

from PIL import Image


def icon(inner: bytes) -> bytes:
    """A Windows icon of 16×16 pixels, with the content of a PNG file."""
    return struct.pack("<HHH", 0, 1, 1) + struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(inner), 22) + inner


def mac_icon(inner: bytes) -> bytes:
    """A macOS icon of 512×512 pixels, with the content of a PNG file."""
    return b"icns" + struct.pack(">I", 16 + len(inner)) + b"ic09" + struct.pack(">I", 8 + len(inner)) + inner


def texture(inner: bytes) -> bytes:
    """A BLP texture of 12×12 pixels, with the content of a JPEG file."""
    head = b"BLP1" + struct.pack("<iIIIii", 0, 0, 12, 12, 5, 0)
    places = struct.pack("<16I", len(head) + 132, *[0] * 15) + struct.pack("<16I", len(inner), *[0] * 15)
    return head + places + bytes(4) + inner


def tiled(width: int, height: int) -> bytes:
    """A TIFF file of 12×12 grey pixels in one tile of this size, which is damaged."""
    tags = {256: 12, 257: 12, 258: 8, 259: 8, 262: 1, 277: 1, 322: width, 323: height, 324: 8, 325: 10}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<I", 18) + bytes(10) + struct.pack("<H", len(tags)) + entries + bytes(4)


def iptc(inner: bytes) -> bytes:
    """An IPTC file of 12×12 pixels, with the content of a file of any format."""

    def field(record: int, number: int, content: bytes) -> bytes:
        return bytes([0x1C, record, number]) + struct.pack(">H", len(content)) + content

    sides = field(3, 20, struct.pack(">H", 12)) + field(3, 30, struct.pack(">H", 12))
    head = field(3, 60, b"\1\0") + sides + field(3, 120, struct.pack(">H", 5))
    return head + b"".join(field(8, 10, inner[i : i + 9999]) for i in range(0, len(inner), 9999)) + field(9, 10, b"")


def jpeg(width: int, height: int) -> bytes:
    """A JPEG file whose header tells this size; its pixels are those of a smaller one."""
    stream = io.BytesIO()
    Image.new("RGB", (16, 16)).save(stream, "JPEG")
    content = stream.getvalue()
    place = content.index(b"\xff\xc0") + 5
    return content[:place] + struct.pack(">HH", height, width) + content[place + 4 :]


def compressed_fits(content: bytes) -> bytes:
    """A FITS file of 12×12 pixels whose table holds ``content``, gzip data."""
    first = {"BITPIX": 8, "NAXIS": 0}
    table = {"BITPIX": 8, "NAXIS": 2, "NAXIS1": 8, "NAXIS2": 12, "ZIMAGE": "T", "ZBITPIX": 8, "ZNAXIS": 2,
             "ZNAXIS1": 12, "ZNAXIS2": 12, "ZCMPTYPE": "'GZIP_1  '"}  # fmt: skip

    def block(begin: str, values: dict[str, object]) -> bytes:
        cards = [begin, *(f"{name:<8}= {value:>20}" for name, value in values.items()), "END"]
        return "".join(card.ljust(80) for card in cards).ljust(2880).encode()

    head = block("SIMPLE  = " + "T".rjust(20), first) + block("XTENSION= 'BINTABLE'", table)
    return head + bytes(96) + content
