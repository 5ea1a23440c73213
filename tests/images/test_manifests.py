"""Tables of paths and labels: the same rows as a folder, and one clear line for each fault."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from fusion_pipeline.errors import FormatError, FusionError, IncompleteError, RefusedError, UnusableDataError
from fusion_pipeline.images.index import list_image_folder
from fusion_pipeline.images.inputs import list_images
from tests.images.trees import plant

ROWS = [("b/2.jpg", "b", "test", "7"), ("a/1.jpg", "a", "train", "7"), ("a/3.jpg", "a", "", "8")]


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    return plant(tmp_path / "pets", *(row[0] for row in ROWS))


def write(file: Path, rows: list[tuple[str, ...]], header: str = "path,label,split,group") -> Path:
    separator = "\t" if file.suffix == ".tsv" else ","
    lines = [separator.join(row) for row in [tuple(header.split(",")), *rows]]
    file.write_bytes(os.fsencode("\n".join(lines) + "\n"))
    return file


def write_parquet(file: Path, rows: list[tuple[str, ...]]) -> Path:
    names = ("path", "label", "split", "group")
    parquet.write_table(pyarrow.table(dict(zip(names, zip(*rows, strict=True), strict=True))), file)
    return file


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".CSV"])
def test_rows_of_a_table(pets: Path, suffix: str) -> None:
    listing = list_images((write_parquet if suffix == ".parquet" else write)(pets / f"some{suffix}", ROWS))
    assert listing.name == "some"
    assert listing.paths == (b"a/1.jpg", b"a/3.jpg", b"b/2.jpg")
    assert (listing.labels, listing.class_names) == ((0, 0, 1), ("a", "b"))
    assert listing.columns == {"split": ("train", "", "test"), "group": ("7", "8", "7")}
    assert listing.place(0) == bytes(pets / "a" / "1.jpg")
    assert listing.places is None  # each would be in memory twice


def test_a_table_of_a_folder_is_the_same_data_set(pets: Path) -> None:
    """Relative or absolute, in any order, with other columns, with a byte order mark, with quotes and empty lines."""
    table = pets / "pets.csv"
    text = f'\ufefflabel,path,note\n\nb,b/2.jpg,x\n a,a/1.jpg,\n"a",{pets}/a/3.jpg,"1,2"\n'.replace(" a,", "a,")
    table.write_text(text, encoding="utf-8")
    listing, folder = list_images(table), list_image_folder(pets)
    assert listing.listing == folder.listing
    assert listing.columns == {}


def test_paths_outside_the_tables_folder(pets: Path, tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    rows = [("../pets/a/1.jpg", "a"), (f"{pets}/b/2.jpg", "b")]
    listing = list_images(write(tmp_path / "lists" / "x.csv", rows, "path,label"))
    assert set(listing.paths) == {b"../pets/a/1.jpg", bytes(pets / "b" / "2.jpg")}
    assert [os.path.exists(listing.place(row)) for row in range(2)] == [True, True]  # type: ignore[arg-type]


def test_names_that_are_no_text(tmp_path: Path) -> None:
    plant(tmp_path / "x", b"a\xff.jpg", b"b\n.jpg")
    (tmp_path / "x" / "x.csv").write_bytes(b'path,label\na\xff.jpg,\xfe\n"b\n.jpg",b\n')
    listing = list_images(tmp_path / "x" / "x.csv")
    assert (listing.paths, listing.class_names) == ((b"a\xff.jpg", b"b\n.jpg"), ("b", "\udcfe"))
    binary = {"path": [b"a\xff.jpg", b"b\n.jpg"], "label": [10, 9]}
    parquet.write_table(pyarrow.table(binary), tmp_path / "x" / "x.parquet")
    listing = list_images(tmp_path / "x" / "x.parquet")
    assert (listing.paths, listing.class_names, listing.labels) == ((b"a\xff.jpg", b"b\n.jpg"), ("10", "9"), (0, 1))


@pytest.mark.parametrize(
    ("content", "kind", "message"),
    [
        ("", FormatError, "has no column 'path'; its columns are none. Needed are path and label"),
        ("path,class\n", FormatError, "has no column 'label'; its columns are 'path', 'class'."),
        ("path,label,label\n", FormatError, "has 2 columns 'label'. Remove all but one."),
        ("path,label\na/1.jpg,a\nb/2.jpg\n", FormatError, "Line 3 of {} has 1 fields, but the first line 2."),
        ('path,label\na/1.jpg,"a\n', FormatError, "is not a table (unexpected end of data, after line 1)."),
        ("path,label\na/1.jpg,\n", UnusableDataError, "Line 2 of {} has no label. Fill it in, or remove the line."),
        ("path,label\n,a\n", UnusableDataError, "Line 2 of {} has no path."),
        (
            "path,label\na/1.jpg,a\nb/2.jpg,b\na/../a/1.jpg,b\n",
            UnusableDataError,
            "Line 4 of {} names 'a/../a/1.jpg' again, after line 2. Remove one of them.",
        ),
        (
            "path,label\na/1.jpg,a\nb/9.jpg,b\n",
            IncompleteError,
            "Line 3 of {} names 'b/9.jpg', which is not there (No such file or directory).",
        ),
        (
            "path,label\na\0.jpg,a\n",
            IncompleteError,
            r"Line 2 of {} names 'a\x00.jpg', which is not there (no such name can be).",
        ),
        ("path,label\na/1.jpg, \t\n", UnusableDataError, "Line 2 of {} has no label."),
        ("path,label\na,a\n", RefusedError, "Line 2 of {} names 'a', which is no file."),
        ("path,label\na/1.jpg,a\n", UnusableDataError, "{} has a single class, 'a'."),
        ("path,label\n", UnusableDataError, "{} holds no images."),
    ],
)
def test_faults(pets: Path, content: str, kind: type[FusionError], message: str) -> None:
    table = pets / "x.csv"
    table.write_text(content)
    with pytest.raises(kind) as caught:
        list_images(table)
    assert message.format(f"'{table}'") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_blanks_around_texts_are_no_part_of_them(pets: Path) -> None:
    rows = [("a/1.jpg", " rose", "train ", " 7"), ("a/3.jpg", "rose ", "train", "7"), ("b/2.jpg", "iris ", "  ", "\t")]
    for table in (write(pets / "x.csv", rows), write_parquet(pets / "x.parquet", rows)):
        listing = list_images(table)
        assert (listing.class_names, listing.labels) == (("iris", "rose"), (1, 1, 0))
        assert listing.columns == {"split": ("train", "train", ""), "group": ("7", "7", "")}
    (pets / " c.jpg").write_bytes(b"")  # a path is what it is
    listing = list_images(write(pets / "x.csv", [("b/2.jpg", "b"), (" c.jpg", "c")], "path,label"))  # type: ignore[list-item]
    assert listing.paths == (b" c.jpg", b"b/2.jpg")


def as_parquet(pets: Path, **columns: object) -> Path:
    parquet.write_table(pyarrow.table({"path": ["a/1.jpg", "a/3.jpg", "b/2.jpg"], **columns}), pets / "x.parquet")
    return pets / "x.parquet"


@pytest.mark.parametrize("kind", ["int8", "float16", "float32", "float64", "decimal128(38, 4)"])
def test_whole_numbers_are_one_text_whatever_their_type(pets: Path, kind: str) -> None:
    of_kind = pyarrow.decimal128(38, 4) if "decimal" in kind else pyarrow.type_for_alias(kind)
    numbers = pyarrow.array([1, 2, 1]).cast(of_kind)
    listing = list_images(as_parquet(pets, label=numbers, group=pyarrow.array([7, None, 10]).cast(of_kind)))
    assert (listing.class_names, listing.columns) == (("1", "2"), {"group": ("7", "", "10")})
    text = write(
        pets / "x.csv", [("a/1.jpg", "1", "7"), ("a/3.jpg", "2", ""), ("b/2.jpg", "1", "10")], "path,label,group"
    )
    assert list_images(text).listing == listing.listing


def test_what_is_no_number_is_missing(pets: Path) -> None:
    nan = float("nan")
    listing = list_images(as_parquet(pets, label=[0.5, 2.0, float("inf")], group=[nan, 7.0, None], split=[nan] * 3))
    assert (listing.class_names, listing.columns) == (("0.5", "2", "inf"), {"group": ("", "7", "")})
    with pytest.raises(UnusableDataError, match=r"^Row 2 of .* has no label"):
        list_images(as_parquet(pets, label=[1.0, nan, 2.0]))


@pytest.mark.parametrize("value", [["a"], {"name": "a"}])
@pytest.mark.parametrize("column", ["label", "split", "group"])
def test_lists_and_structs_are_no_texts(pets: Path, column: str, value: object) -> None:
    columns = {"label": ["a", "b", "b"], column: [value] * 3}
    with pytest.raises(
        FormatError, match=rf"^Column '{column}' of .*x.parquet' is of type (list|struct)<.*>. Write it"
    ):
        list_images(as_parquet(pets, **columns))
    assert len(list_images(as_parquet(pets, label=["a", "b", "b"], boxes=[value] * 3))) == 3


def test_text_that_is_none(pets: Path) -> None:
    broken = pyarrow.array([b"a\xff", b"b", b"b"], pyarrow.binary()).view(pyarrow.string())
    with pytest.raises(FormatError, match="is not a Parquet file that can be read"):
        list_images(as_parquet(pets, label=broken))


def test_images_that_are_gone_can_be_kept(pets: Path) -> None:
    table = write(pets / "x.csv", [row[:2] for row in ROWS], "path,label")
    whole = list_images(table)
    (pets / "b" / "2.jpg").unlink()
    (pets / "b").rmdir()
    with pytest.raises(IncompleteError, match=r"'b/2.jpg', which is not there"):
        list_images(table)
    assert list_images(table, keep_absent=True) == whole


def test_one_image_under_two_ids(pets: Path, tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    rows = [("../pets/a/1.jpg", "a"), (f"{pets}/a/1.jpg", "b")]
    with pytest.raises(UnusableDataError, match=r"Line 3 of .* again, after line 2"):
        list_images(write(tmp_path / "lists" / "x.csv", rows, "path,label"))  # type: ignore[arg-type]


def test_faults_of_parquet(pets: Path) -> None:
    (pets / "x.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(FormatError, match="is not a Parquet file"):
        list_images(pets / "x.parquet")
    with pytest.raises(UnusableDataError, match=r"^Row 2 of .* has no label"):
        list_images(write_parquet(pets / "y.parquet", [*ROWS[:1], ("a/1.jpg", "", "", "")]))
    parquet.write_table(pyarrow.table({"path": ["a/1.jpg"]}), pets / "z.parquet")
    with pytest.raises(FormatError, match="has no column 'label'"):
        list_images(pets / "z.parquet")


def test_links(pets: Path) -> None:
    (pets / "c.jpg").symlink_to("a/1.jpg")
    table = write(pets / "x.csv", [("b/2.jpg", "b"), ("c.jpg", "c")], "path,label")
    with pytest.raises(RefusedError, match=r"Line 3 of .* names 'c.jpg', a symbolic link. Give --follow-symlinks"):
        list_images(table)
    assert list_images(table, follow_symlinks=True).paths == (b"b/2.jpg", b"c.jpg")
    for link, target in (("loop.jpg", "loop.jpg"), ("dangling.jpg", "nowhere.jpg")):
        (pets / link).symlink_to(target)
        write(table, [("b/2.jpg", "b"), (link, "c")], "path,label")
        with pytest.raises(RefusedError, match="a symbolic link"):
            list_images(table)
        with pytest.raises(IncompleteError, match="which is not there"):
            list_images(table, follow_symlinks=True)
    os.mkfifo(pets / "fifo.jpg")
    with pytest.raises(RefusedError, match="which is no file"):
        list_images(write(table, [("fifo.jpg", "a")], "path,label"))


@pytest.mark.parametrize("path", ["out/3.jpg", "{pets}/out/3.jpg", "a/../out/3.jpg", "a/deep/out/3.jpg"])
def test_links_on_the_way_to_an_image(pets: Path, path: str) -> None:
    plant(pets.parent / "elsewhere", "3.jpg")
    (pets / "out").symlink_to("../elsewhere")
    (pets / "a" / "deep").symlink_to("..")
    table = write(pets / "x.csv", [("b/2.jpg", "b"), (path.format(pets=pets), "c")], "path,label")
    with pytest.raises(RefusedError, match=r"Line 3 of .* which lies behind a symbolic link. Give --follow-symlinks"):
        list_images(table)
    assert len(list_images(table, follow_symlinks=True)) == 2


def test_links_above_the_table_are_the_users_own(pets: Path, tmp_path: Path) -> None:
    (tmp_path / "home").symlink_to("pets")
    write(pets / "x.csv", [row[:2] for row in ROWS], "path,label")
    assert len(list_images(tmp_path / "home" / "x.csv")) == 3


def test_other_files_are_no_data_set(pets: Path) -> None:
    with pytest.raises(FormatError, match="is no data set"):
        list_images(pets / "a" / "1.jpg")
