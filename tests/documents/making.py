"""Real documents, made by hand: what the readers are tested on."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import count
from xml.sax.saxutils import escape

__all__ = ["DRAWN", "body", "docx", "packed", "paragraph", "pdf", "pdf_file", "table"]

WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
RELATIONS = "http://schemas.openxmlformats.org/package/2006/relationships"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"
CORE = (
    'xmlns:cp="http://schemas.openxmlformats.org/package/2006/metadata/core-properties" '
    'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:dcterms="http://purl.org/dc/terms/"'
)
STYLES = "".join(
    f'<w:style w:type="paragraph" w:styleId="Heading{level}"><w:name w:val="heading {level}"/></w:style>'
    for level in range(1, 7)
)


# -- DOCX --


def paragraph(text: str, style: str = "", properties: str = "") -> str:
    """A paragraph as Word writes it."""
    styled = f'<w:pStyle w:val="{style}"/>' if style else ""
    return f'<w:p><w:pPr>{styled}{properties}</w:pPr><w:r><w:t xml:space="preserve">{escape(text)}</w:t></w:r></w:p>'


def table(rows: Iterable[Sequence[str]]) -> str:
    """A table as Word writes it."""
    lines = "".join("<w:tr>" + "".join(f"<w:tc>{paragraph(cell)}</w:tc>" for cell in row) + "</w:tr>" for row in rows)
    return f"<w:tbl>{lines}</w:tbl>"


def body(inner: str) -> str:
    """The part with the text."""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><w:document xmlns:w="{WORD}" '
        'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006" '
        f'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"><w:body>{inner}</w:body></w:document>'
    )


def docx(inner: str = "", *, core: str = "", parts: Mapping[str, str | bytes] | None = None, whole: str = "") -> bytes:
    """A DOCX file with *inner* in its body, or *whole* as the part with the text."""
    return packed(
        {
            "[Content_Types].xml": "<Types/>",
            "_rels/.rels": f'<Relationships xmlns="{RELATIONS}"><Relationship Type="{OFFICE}" '
            'Target="word/document.xml"/></Relationships>',
            "word/document.xml": whole or body(inner),
            "word/styles.xml": f'<w:styles xmlns:w="{WORD}">{STYLES}</w:styles>',
            "docProps/core.xml": f"<cp:coreProperties {CORE}>{core}</cp:coreProperties>",
            **(parts or {}),
        }
    )


def packed(parts: Mapping[str, str | bytes]) -> bytes:
    """A ZIP file of *parts*."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as file:
        for name, part in parts.items():
            file.writestr(name, part)
    return data.getvalue()


# -- PDF --

DRAWN = "BT /F1 11 Tf 50 780 Td 14 TL"


def pdf(
    pages: Iterable[Sequence[str]],
    info: Mapping[str, str] | None = None,
    outline: Sequence[tuple[str, int]] = (),
    large: Mapping[str, int] | None = None,
    beside: Collection[str] = (),
) -> bytes:
    """A PDF with lines of any characters; *outline* has titles with the numbers of their pages, from 0.

    Lines that are in *large* have letters of that size, and those in *beside* stand beside the page.
    """
    pages = [list(lines) for lines in pages]
    codes = {
        each: code for code, each in enumerate(sorted({each for page in pages for line in page for each in line}), 1)
    }
    number = count(6)
    objects: dict[int, bytes] = {}
    kids = []
    for lines in pages:
        shown = "".join(
            f"{'1 0 0 1 900 50 Tm ' if line in beside else ''}/F1 {(large or {}).get(line, 11)} Tf "
            f"<{''.join(f'{codes[each]:04x}' for each in line)}> Tj T*\n"
            for line in lines
        )
        page, contents = next(number), next(number)
        kids.append(page)
        objects[contents] = stream(f"{DRAWN}\n{shown}ET".encode())
        objects[page] = (
            f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Resources<</Font<</F1 3 0 R>>>>/Contents {contents} 0 R>>"
        ).encode()
    objects[2] = f"<</Type/Pages/Kids[{' '.join(f'{each} 0 R' for each in kids)}]/Count {len(kids)}>>".encode()
    objects[3] = b"<</Type/Font/Subtype/Type0/BaseFont/F/Encoding/Identity-H/DescendantFonts[4 0 R]/ToUnicode 5 0 R>>"
    objects[4] = (
        b"<</Type/Font/Subtype/CIDFontType2/BaseFont/F/CIDSystemInfo"
        b"<</Registry(Adobe)/Ordering(Identity)/Supplement 0>>/DW 500/FontDescriptor"
        b"<</Type/FontDescriptor/FontName/F/Flags 4/FontBBox[0 -200 1000 800]/ItalicAngle 0"
        b"/Ascent 800/Descent -200/CapHeight 700/StemV 80>>>>"
    )
    objects[5] = stream(_to_unicode(codes))
    root = b"<</Type/Catalog/Pages 2 0 R"
    if outline:
        first = next(number)
        places = [first, *(next(number) for _ in outline)]
        root += f"/Outlines {first} 0 R".encode()
        objects[first] = f"<</Type/Outlines/First {places[1]} 0 R/Last {places[-1]} 0 R/Count {len(outline)}>>".encode()
        for place, (title, page) in enumerate(outline, 1):
            after = f"/Next {places[place + 1]} 0 R" if place < len(outline) else ""
            objects[places[place]] = (
                f"<</Title{_text(title)}/Parent {first} 0 R/Dest[{kids[page]} 0 R/XYZ 0 800 0]{after}>>".encode()
            )
    objects[1] = root + b">>"
    told = next(number)
    objects[told] = ("<<" + "".join(f"/{name}{_text(value)}" for name, value in (info or {}).items()) + ">>").encode()
    return pdf_file(objects, f"/Info {told} 0 R")


def _text(text: str) -> str:
    return f"<feff{text.encode('utf-16-be', 'surrogatepass').hex()}>"


def _to_unicode(codes: Mapping[str, int]) -> bytes:
    lines = [f"<{code:04x}> <{each.encode('utf-16-be').hex()}>" for each, code in codes.items()]
    parts = [lines[place : place + 100] for place in range(0, len(lines), 100)]
    told = "\n".join(f"{len(part)} beginbfchar\n" + "\n".join(part) + "\nendbfchar" for part in parts)
    return (
        "/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapType 2 def\n"
        f"1 begincodespacerange <0000> <ffff> endcodespacerange\n{told}\nendcmap end end"
    ).encode()


def stream(data: bytes, *, more: str = "") -> bytes:
    """A stream of *data*, packed."""
    small = zlib.compress(data)
    return f"<</Length {len(small)}/Filter/FlateDecode{more}>>stream\n".encode() + small + b"\nendstream"


def pdf_file(objects: Mapping[int, bytes], trailer: str = "") -> bytes:
    """The file of these *objects*, of which the first is its root."""
    data = b"%PDF-1.7\n"
    places = {}
    for number, each in sorted(objects.items()):
        places[number] = len(data)
        data += f"{number} 0 obj\n".encode() + each + b"\nendobj\n"
    begun = len(data)
    table_ = "".join(
        f"{places[each]:010} 00000 n \n" if each in places else "0000000000 65535 f \n"
        for each in range(1, max(objects) + 1)
    )
    size = max(objects) + 1
    data += f"xref\n0 {size}\n0000000000 65535 f \n{table_}trailer\n<</Size {size}/Root 1 0 R{trailer}>>\n".encode()
    return data + f"startxref\n{begun}\n%%EOF\n".encode()
