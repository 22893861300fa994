"""The options of build_custom_data."""

import dataclasses
import os
from typing import Annotated, Literal

from deeplab.annotations import class_table
from deeplab.core.options import fields
from deeplab.datasets import source_files
from deeplab.datasets.converter_options import ConverterOptions, StoredValue
from deeplab.datasets.split_fractions import Division, parse_fractions

# The formats of annotations, of `annotations.formats`, which imports the readers.
AnnotationFormat = Literal["coco", "labelme", "cvat", "label_studio", "yolo", "ultralytics", "csv"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CustomOptions(ConverterOptions):
    """The images, labels and splits to convert, and how."""

    # --- Images and labels ---
    image_folder: Annotated[
        str | None, "Folder of the images, in any format that OpenCV reads."
    ] = None
    image_format: Annotated[str | None, "Extension of the images, such as jpg. Default: any."] = (
        None
    )
    label_folder: Annotated[
        str | None, "Folder of the labels (PNG or TIFF). Default: images without labels."
    ] = None
    label_suffix: Annotated[
        str, "Suffix of a label's name after the image's name, such as _mask."
    ] = ""
    annotations: Annotated[
        str | None, "File or folder that an annotation tool wrote, in place of --label_folder."
    ] = None
    annotation_format: Annotated[
        AnnotationFormat | None, "Format of --annotations. Default: found from the content."
    ] = None

    # --- Splits ---
    list_folder: Annotated[
        str | None, "Folder of the lists of image names: a file <split>.txt for each split."
    ] = None
    split: Annotated[
        tuple[str, ...] | None,
        "<split>=<pattern of image files in --image_folder>, in place of lists; repeat it for each"
        " split.",
    ] = None
    split_fractions: Annotated[
        fields.Texts | None,
        "<split>:<fraction>, separated by commas, such as train:0.8,val:0.2, in place of lists:"
        " images are divided at random, evenly by class.",
    ] = None
    seed: Annotated[fields.NonNegativeInt, "Seed of --split_fractions."] = 0
    group_by: Annotated[
        str | None,
        "Regular expression for --split_fractions: images whose names agree in its groups stay"
        " together, such as '(patient[0-9]+)'.",
    ] = None

    # --- Classes ---
    class_names: Annotated[
        fields.Texts | None,
        "Names of the labels 0, 1, 2, ... With --annotations: their names, in the order wanted.",
    ] = None
    class_map: Annotated[
        fields.Texts | None,
        "Names of classes to replace: <name>:<other>, separated by commas, such as"
        " van:car,shadow:ignore; 'ignore' and 'background' have their meaning; an empty name drops"
        " the regions.",
    ] = None
    background: Annotated[
        bool,
        "Pixels outside all regions of --annotations are class 0; otherwise they are ignored.",
    ] = True
    colormap: Annotated[
        str | None,
        "JSON file of colors, for labels that are color images: {name: [red, green, blue], ...}"
        " in the order of the classes, or a list of colors. A class may have a list of colors;"
        ' the name "ignore" is the ignore label.',
    ] = None
    nearest_color: Annotated[
        float | None,
        fields.Range(at_least=0, at_most=442),
        "For labels that are color images with soft edges: a color that is not listed is the"
        " nearest one that is, if it is not farther away than this (0 to 442).",
    ] = None
    threshold: Annotated[
        StoredValue | None,
        "For gray masks of two classes: values above this are label 1, others are 0.",
    ] = None

    # --- Files ---
    descriptor: Annotated[
        str | None, "File of the descriptor. Default: dataset.json in --output_dir."
    ] = None
    write_label_images: Annotated[
        str | None,
        "Folder in which labels are also written as PNG files with a palette, to look at.",
    ] = None
    # Its flag is that of all converters, `converter_flags.define_num_processes`.
    num_processes: int | None = None

    @property
    def descriptor_path(self) -> str:
        """The file of the descriptor.

        Raises:
            ValueError: Its name does not end in .json.
        """
        path = self.descriptor or os.path.join(self.output_dir, "dataset.json")
        if not path.endswith(".json"):
            raise ValueError(f"--descriptor is {path}; the file's name must end in .json")
        return path

    @property
    def extensions(self) -> tuple[str, ...]:
        """Extensions of the images."""
        if self.image_format:
            return (f".{self.image_format.lower().removeprefix('.')}",)
        return source_files.IMAGE_EXTENSIONS

    @property
    def rules(self) -> class_table.ClassRules:
        """The rules by which names become classes."""
        class_map = class_table.parse_class_map(self.class_map or ())
        return class_table.ClassRules(self.names, class_map, self.background, self.ignore_label)

    @property
    def division(self) -> Division | None:
        """The random division of the images; None: they are not divided."""
        if not self.split_fractions:
            if self.group_by:
                raise ValueError("--group_by needs --split_fractions")
            return None
        fractions = parse_fractions(self.split_fractions)
        return Division(fractions, self.seed, self.group_by)
