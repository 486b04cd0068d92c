"""PDFs for the tests, made by hand, so that they hold exactly what a test needs."""

import zlib
from collections.abc import Sequence
from functools import cache

MARY = [
    "Mary Shelley",
    "Senior Python Engineer",
    "mary@example.org | +44 20 7946 0958 | https://github.com/mary",
    "Summary",
    "Engineer who builds event-sourced services and the teams around them.",
    "Experience",
    "Galvani Ltd, Senior Engineer, 2019 - 2024",
    "- Led the move of billing to Kubernetes",
    "- Built an order service in Python and PostgreSQL that takes 4,000 orders a second",
    "- Organised the yearly summer party",
    "Villa Diodati, Developer, 2016 - 2019",
    "- Wrote ghost stories",
    "- Maintained a Django shop with RabbitMQ",
    "Education",
    "University of Ingolstadt, BSc Computer Science, 2016",
    "Skills",
    "Gardening, Python, PostgreSQL, Docker, RabbitMQ, Go",
    "Languages",
    "English, French",
]


def a_pdf(*pages: Sequence[str]) -> bytes:
    """Each page a list of lines, in Helvetica."""
    return from_streams(*(_stream(lines) for lines in pages))


def _stream(lines: Sequence[str]) -> bytes:
    escaped = (line.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)") for line in lines)
    shown = " T*\n".join(f"({line}) Tj" for line in escaped)
    return f"BT /F1 11 Tf 14 TL 50 800 Td\n{shown}\nET".encode("latin-1")


def from_streams(*streams: bytes) -> bytes:
    """One page for each content stream."""
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(len(streams)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(streams)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for n, stream in enumerate(streams):
        packed = _packed(stream)
        page = (
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] "
            f"/Resources << /Font << /F1 3 0 R >> >> /Contents {5 + 2 * n} 0 R >>"
        )
        head = f"<< /Length {len(packed)} /Filter /FlateDecode >>\nstream\n"
        objects += [page.encode(), head.encode() + packed + b"\nendstream"]
    return _file(objects)


@cache
def _packed(stream: bytes) -> bytes:
    return zlib.compress(stream)


def _file(objects: Sequence[bytes]) -> bytes:
    body, offsets = bytearray(b"%PDF-1.7\n"), []
    for number, content in enumerate(objects, 1):
        offsets.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    count = len(objects) + 1
    return bytes(
        body
        + b"xref\n0 %d\n0000000000 65535 f \n%s" % (count, table)
        + b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (count, len(body))
    )
