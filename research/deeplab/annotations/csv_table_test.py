import pytest


@pytest.fixture
def read(project):
    project.images("a.jpg", "x/b.jpg")

    def read(text, **request):
        project.write("table.csv", text)
        return project.read("table.csv", **request)

    return read


def test_rows_name_images_labels_and_splits(read, project):
    annotations = read('\ufeffimage,label,split\r\na.jpg,masks/1.png,train\n"x/b.jpg",2.tif,val\n')
    assert [image.mask for image in annotations.images] == [
        str(project.folder / "masks/1.png"),
        str(project.folder / "2.tif"),
    ]
    assert annotations.splits == {
        "train": [str(project.folder / "images/a.jpg")],
        "val": [str(project.folder / "images/x/b.jpg")],
    }
    assert annotations.label_files


def test_labels_may_lie_in_a_folder_of_their_own_or_be_missing(read):
    annotations = read("image,label\na.jpg,1.png\nx/b.jpg,\n", label_folder="/labels")
    assert [image.mask for image in annotations.images] == ["/labels/1.png", None]
    assert annotations.splits is None


def test_paths_may_be_those_of_windows(read, project):
    (image,) = read("image,label\nx\\b.jpg,masks\\1.png\n").images
    assert image.image == str(project.folder / "images/x/b.jpg")
    assert image.mask == str(project.folder / "masks/1.png")


def test_the_form_of_a_table_may_be_that_of_any_program(read, project):
    project.images('a "1", b.jpg')
    rows = '1,"a ""1"", b.jpg",masks/1.png,"two\r\nlines"\r\n,,,\r\n2, x/b.jpg , 2.png ,\r\n'
    annotations = read(f'\ufeff"Id","Image","Label","Notes"\r\n{rows}')
    images = [image.image.removeprefix(f"{project.folder}/images/") for image in annotations.images]
    assert images == ['a "1", b.jpg', "x/b.jpg"]
    assert annotations.images[1].mask == str(project.folder / "2.png")
    with pytest.raises(ValueError, match="line 1: there are 2 columns label"):
        read("image,label,Label\na.jpg,1.png,2.png\n")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a.jpg,1.png", "line 2 has 2 columns; the first line has 3"),
        ("a.jpg,1.png,", "line 2: the split's name is missing"),
        ("a.jpg,1.png,../x", "line 2: the split's name must not"),
        (",1.png,train", "line 2 names no image"),
        ("a.jpg,1.png,train\na.jpg,2.png,val", "line 3 names the image a.jpg of .*line 2 again"),
        ("a.jpg,1.png,train\n./a.jpg,1.png,val", "line 3 names the image ./a.jpg of .*line 2"),
        ("a.jpg,1.png,train\nimg/../a.jpg,1.png,val", "line 3 names the image .* of .*line 2"),
        ("", "has no images"),
        ('a.jpg,1.png,"train\n' + "b.jpg,2.png,val\n" * 9000, "line 2 is not CSV: field larger"),
    ],
)
def test_a_malformed_row_is_named(read, rows, message):
    with pytest.raises(ValueError, match=f"table.csv,? ?{message}"):
        read(f"image,label,split\n{rows}\n")


def test_a_missing_image_is_named(read):
    with pytest.raises(FileNotFoundError, match="table.csv, line 3 names the image 'c.jpg'"):
        read("image,label\na.jpg,1.png\nc.jpg,2.png\n")
