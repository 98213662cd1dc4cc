"""Excel workbooks, as small as they can be."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape, quoteattr

Cell = str | float | bool | None
DATE_STYLE = 1
"""The style of cells that display a number as a date and a time."""

VISIBLE, HIDDEN = "Fragen 2026", 'Größen "alt"'
"""The names of the sheets."""
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"
_CONTENT_TYPES = (
    '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="xml" ContentType="application/xml"/></Types>'
)
_STYLES = (
    f'<styleSheet xmlns="{_MAIN}"><cellXfs count="2"><xf numFmtId="0"/>'
    '<xf numFmtId="22" applyNumberFormat="1"/></cellXfs></styleSheet>'
)


def workbook(
    rows: Sequence[Sequence[Cell]], *, hidden_first: bool = False, style: int = 0
) -> bytes:
    """Return a workbook with these rows on a sheet.

    Args:
        rows: the cells from A1 on; None for an empty cell.
        hidden_first: put a hidden sheet before this one.
        style: the style of all numbers.
    """
    cells = {
        f"{chr(ord('A') + column)}{row}": cell
        for row, line in enumerate(rows, 1)
        for column, cell in enumerate(line)
    }
    return sheet_of(cells, hidden_first=hidden_first, style=style)


def sheet_of(cells: Mapping[str, Cell], *, hidden_first: bool = False, style: int = 0) -> bytes:
    """Return a workbook with these cells: address → value, from left to right and from top to bottom."""
    sheets = [("rId2", HIDDEN, "hidden")] if hidden_first else []
    sheets.append(("rId1", VISIBLE, "visible"))
    listed = "".join(
        f'<sheet name={quoteattr(name)} sheetId="{key[3:]}" state="{state}" r:id="{key}"/>'
        for key, name, state in sheets
    )
    relations = "".join(
        f'<Relationship Id="rId{number}" Type="{_OFFICE}/worksheet" Target="worksheets/sheet{number}.xml"/>'
        for number in (1, 2)
    )
    relations += f'<Relationship Id="rId3" Type="{_OFFICE}/styles" Target="styles.xml"/>'
    book = f'<Relationship Id="rId1" Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/>'
    parts = {
        "[Content_Types].xml": _CONTENT_TYPES,
        "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}">{book}</Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets>{listed}</sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_PACKAGE}">{relations}</Relationships>',
        "xl/worksheets/sheet1.xml": _sheet(cells, style),
        "xl/worksheets/sheet2.xml": _sheet({"A1": "a", "A2": "not me"}, style),
        "xl/styles.xml": _STYLES,
    }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return file.getvalue()


def _sheet(cells: Mapping[str, Cell], style: int) -> str:
    lines: dict[str, str] = {}
    for address, cell in cells.items():
        row = address.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
        lines[row] = lines.get(row, "") + _cell(address, cell, style)
    rows = "".join(f'<row r="{row}">{line}</row>' for row, line in lines.items())
    return f'<worksheet xmlns="{_MAIN}"><sheetData>{rows}</sheetData></worksheet>'


def _cell(address: str, cell: Cell, style: int) -> str:
    match cell:
        case None:
            return f'<c r="{address}"/>'
        case str():
            text = escape(cell, {"\r": "&#13;"})
            return (
                f'<c r="{address}" t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>'
            )
        case bool():
            return f'<c r="{address}" t="b"><v>{cell:d}</v></c>'
        case _:
            return f'<c r="{address}" s="{style}"><v>{cell!r}</v></c>'
