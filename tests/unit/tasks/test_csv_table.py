"""Reading a CSV file: what works, and an error with its line for what does not."""

import pytest

from qrnn_qiskit.errors import InputError
from qrnn_qiskit.tasks.csv_table import load_csv_table


def _write(folder, text, encoding="utf-8"):
    path = folder / "data.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_cells_numbers_and_lines(tmp_path):
    table = load_csv_table(_write(tmp_path, 'u,"long, name"\r\n1, 2 \r\n\r\n-3e2,"x"\r\n'))
    assert table.numbers("u").tolist() == [1.0, -300.0]
    assert table.cells("long, name") == ("2", "x")
    assert (table.num_rows, table.line_numbers) == (2, (2, 4))


def test_byte_order_mark_and_delimiter(tmp_path):
    table = load_csv_table(_write(tmp_path, "u;v\n1;2\n", "utf-8-sig"), delimiter=";")
    assert table.numbers("u").tolist() == [1.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"data.csv: must hold a header and at least one row, got 0; check the file"),
        ("u,v\n", "must hold a header and at least one row, got 1"),
        ("u,u\n1,2\n", r"must start with a header of distinct names, got \['u', 'u'\]"),
        ("u,\n1,2\n", "must start with a header of distinct names"),
        ("u,v\n1,2\n1\n", "data.csv line 3: must have 2 cells like the header, got 1"),
    ],
)
def test_wrong_files(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        load_csv_table(_write(tmp_path, text))


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"path: must be a CSV file that exists, got .*none.csv"):
        load_csv_table(tmp_path / "none.csv")


def test_other_encoding(tmp_path):
    with pytest.raises(InputError, match="must be UTF-8 text, got byte 0xfc; save it as UTF-8"):
        load_csv_table(_write(tmp_path, "ü\n1\n", "latin-1"))


@pytest.mark.parametrize("cell", ["two", "nan", "inf", "1,5"])
def test_cell_that_is_no_number(tmp_path, cell):
    table = load_csv_table(_write(tmp_path, f'u\n1\n\n"{cell}"\n'))
    with pytest.raises(InputError, match=f"line 4, column 'u': must be a finite number, .*{cell}"):
        table.numbers("u")


def test_empty_cell_and_missing_column(tmp_path):
    table = load_csv_table(_write(tmp_path, "u,v\n1,2\n3,\n"))
    with pytest.raises(InputError, match="line 3, column 'v': must not be empty"):
        table.cells("v")
    with pytest.raises(InputError, match=r"must have a column 'w', got \['u', 'v'\]; correct"):
        table.cells("w")
