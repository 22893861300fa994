"""The official published checkpoints: what each is, its published results, and where it lies.

Facts of the official `g3doc/model_zoo.md` and `g3doc/quantize.md`, and of slim's
`nets/mobilenet/README.md`, to which the former refers for the MobileNetV2 of ImageNet.
"""

import dataclasses

_DEEPLAB = "https://download.tensorflow.org/models"
_MOBILENET_V2 = "https://storage.googleapis.com/mobilenet_v2/checkpoints"

_MEGABYTE = 10**6
_MEBIBYTE = 2**20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """A published result.

    Attributes:
        miou: mean intersection over union in per cent, with as many digits as were published.
        split: of the data set that it was measured on, as flags name it.
        output_stride: of the evaluation.
        eval_scales: scales at which the images were seen.
        flipped: whether they were also seen flipped.
        madds: multiply-adds of an image, in billions; None: not published.
        pixel_accuracy: in per cent; None: not published.
        flag_file: its settings, in the folder of the checkpoint's recipe.
    """

    miou: str
    split: str
    output_stride: int
    eval_scales: tuple[float, ...] = (1.0,)
    flipped: bool = False
    madds: str | None = None
    pixel_accuracy: str | None = None
    flag_file: str = "eval.txt"

    @property
    def on_test(self) -> bool:
        """Whether it was measured on a test set, whose labels only the benchmark's server has."""
        return self.split.startswith("test")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A published checkpoint.

    Attributes:
        name: its official name.
        model_variant: of its network.
        depth_multiplier: of its network.
        data: what it was trained on, in order.
        url: of the archive.
        size: of the archive, as published ("23MB"); "": not published.
        recipe: folder in `recipes/` of the settings that belong to it.
        results: the published ones. Without any it is a starting point for training.
        num_bytes: exact size of the archive, where a second source knows it.
        digest: of the archive, such as "sha256:...", where a second source knows it.
    """

    name: str
    model_variant: str
    depth_multiplier: float = 1.0
    data: tuple[str, ...]
    url: str
    size: str
    recipe: str
    results: tuple[Result, ...] = ()
    num_bytes: int | None = None
    digest: str | None = None

    @property
    def backbone(self) -> str:
        """The network's backbone in words."""
        factor = "" if self.depth_multiplier == 1 else f" x{self.depth_multiplier:g}"
        return self.model_variant + factor

    @property
    def size_limits(self) -> tuple[int, int | None]:
        """The least and the largest number of bytes that the archive can have; None: any.

        A published size is rounded, in megabytes or mebibytes, and may be that of the unpacked
        folder, which is hardly larger: a tenth more or less is let pass.
        """
        if self.num_bytes is not None:
            return self.num_bytes, self.num_bytes
        if not self.size:
            return 0, None
        megabytes = float(self.size.removesuffix("MB"))
        return int(0.9 * megabytes * _MEGABYTE), int(1.1 * megabytes * _MEBIBYTE)


def _scales(first: float, last: float) -> tuple[float, ...]:
    """Scales from the first to the last in steps of a quarter."""
    return tuple(first + 0.25 * index for index in range(round((last - first) / 0.25) + 1))


_VOC_SCALES = _scales(0.5, 1.75)
_CITYSCAPES_SCALES = _scales(0.75, 1.25)
_MULTI_SCALE_FILE = "eval_os8_multi_scale.txt"

_IMAGENET = ("ImageNet",)
_COCO = (*_IMAGENET, "MS-COCO")
_COCO_VOC = (*_COCO, "VOC 2012 train_aug")
_COCO_CITYSCAPES = (*_COCO, "Cityscapes train_fine")
_TRAINVAL = "VOC 2012 trainval"


def _segmentation(name: str, archive: str, **fields) -> Checkpoint:
    """A segmentation checkpoint; its recipe has its name."""
    return Checkpoint(name=name, url=f"{_DEEPLAB}/{archive}.tar.gz", recipe=name, **fields)


def _start(name: str, archive: str, size: str, **fields) -> Checkpoint:
    """A checkpoint to start from."""
    fields = {"recipe": name, "data": _IMAGENET, "url": f"{_DEEPLAB}/{archive}.tar.gz", **fields}
    return Checkpoint(name=name, size=size, **fields)


CHECKPOINTS: tuple[Checkpoint, ...] = (
    # --- PASCAL VOC 2012 ---
    _segmentation(
        "mobilenetv2_dm05_coco_voc_trainaug",
        "deeplabv3_mnv2_dm05_pascal_trainaug_2018_10_01",
        model_variant="mobilenet_v2",
        depth_multiplier=0.5,
        data=_COCO_VOC,
        size="7.6MB",
        results=(Result(miou="70.19", split="val", output_stride=16, madds="0.88"),),
    ),
    _segmentation(
        "mobilenetv2_dm05_coco_voc_trainaug_8bit",
        "deeplabv3_mnv2_dm05_pascal_train_aug_8bit_2019_04_26",
        model_variant="mobilenet_v2",
        depth_multiplier=0.5,
        data=_COCO_VOC,
        size="8.2MB",
        results=(Result(miou="69.65", split="val", output_stride=16, madds="0.88"),),
    ),
    _segmentation(
        "mobilenetv2_dm05_coco_voc_trainval",
        "deeplabv3_mnv2_dm05_pascal_trainval_2018_10_01",
        model_variant="mobilenet_v2",
        depth_multiplier=0.5,
        data=(*_COCO_VOC, _TRAINVAL),
        size="7.6MB",
        results=(Result(miou="71.83", split="test", output_stride=8, madds="2.84"),),
    ),
    _segmentation(
        "mobilenetv2_coco_voc_trainaug",
        "deeplabv3_mnv2_pascal_train_aug_2018_01_29",
        model_variant="mobilenet_v2",
        data=_COCO_VOC,
        size="23MB",
        # openvinotoolkit/open_model_zoo, models/public/deeplabv3/model.yml
        num_bytes=23_882_985,
        digest="sha384:d3f2b27bb00c485ca45d68731f7198a23926cb865dd010fc444bcad9158e3341"
        "3cd60da2588a9be3ff1e8c9b4557362b",
        results=(
            Result(miou="75.32", split="val", output_stride=16, madds="2.75"),
            Result(
                miou="77.33",
                split="val",
                output_stride=8,
                eval_scales=_VOC_SCALES,
                flipped=True,
                madds="152.59",
                flag_file=_MULTI_SCALE_FILE,
            ),
        ),
    ),
    _segmentation(
        "mobilenetv2_coco_voc_trainaug_8bit",
        "deeplabv3_mnv2_pascal_train_aug_8bit_2019_04_26",
        model_variant="mobilenet_v2",
        data=_COCO_VOC,
        size="24MB",
        results=(Result(miou="74.26", split="val", output_stride=16, madds="2.75"),),
    ),
    _segmentation(
        "mobilenetv2_coco_voc_trainval",
        "deeplabv3_mnv2_pascal_trainval_2018_01_29",
        model_variant="mobilenet_v2",
        data=(*_COCO_VOC, _TRAINVAL),
        size="23MB",
        # Two projects that convert it to other formats name the same.
        digest="sha256:2b7fe43461c2d9d56b3ed6baed5547fc066361ba12ab84c8e85f0c31914c034f",
        results=(
            Result(
                miou="80.25",
                split="test",
                output_stride=8,
                eval_scales=_VOC_SCALES,
                flipped=True,
                madds="152.59",
            ),
        ),
    ),
    _segmentation(
        "xception65_coco_voc_trainaug",
        "deeplabv3_pascal_train_aug_2018_01_04",
        model_variant="xception_65",
        data=_COCO_VOC,
        size="439MB",
        results=(
            Result(miou="82.20", split="val", output_stride=16, madds="54.17"),
            Result(
                miou="83.58",
                split="val",
                output_stride=8,
                eval_scales=_VOC_SCALES,
                flipped=True,
                madds="3055.35",
                flag_file=_MULTI_SCALE_FILE,
            ),
        ),
    ),
    _segmentation(
        "xception65_coco_voc_trainval",
        "deeplabv3_pascal_trainval_2018_01_04",
        model_variant="xception_65",
        data=(*_COCO_VOC, _TRAINVAL),
        size="439MB",
        results=(
            Result(
                miou="87.80",
                split="test",
                output_stride=8,
                eval_scales=_VOC_SCALES,
                flipped=True,
                madds="3055.35",
            ),
        ),
    ),
    # --- Cityscapes ---
    _segmentation(
        "mobilenetv2_coco_cityscapes_trainfine",
        "deeplabv3_mnv2_cityscapes_train_2018_02_05",
        model_variant="mobilenet_v2",
        data=_COCO_CITYSCAPES,
        size="23MB",
        results=(
            Result(miou="70.71", split="val_fine", output_stride=16, madds="21.27"),
            Result(
                miou="73.57",
                split="val_fine",
                output_stride=8,
                eval_scales=_CITYSCAPES_SCALES,
                flipped=True,
                madds="433.24",
                flag_file=_MULTI_SCALE_FILE,
            ),
        ),
    ),
    _segmentation(
        "mobilenetv3_large_cityscapes_trainfine",
        "deeplab_mnv3_large_cityscapes_trainfine_2019_11_15",
        model_variant="mobilenet_v3_large_seg",
        data=("Cityscapes train_fine",),
        size="17MB",
        results=(Result(miou="72.41", split="val_fine", output_stride=32, madds="15.95"),),
    ),
    _segmentation(
        "mobilenetv3_small_cityscapes_trainfine",
        "deeplab_mnv3_small_cityscapes_trainfine_2019_11_15",
        model_variant="mobilenet_v3_small_seg",
        data=("Cityscapes train_fine",),
        size="5MB",
        results=(Result(miou="68.99", split="val_fine", output_stride=32, madds="4.63"),),
    ),
    _segmentation(
        "xception65_cityscapes_trainfine",
        "deeplabv3_cityscapes_train_2018_02_06",
        model_variant="xception_65",
        data=(*_IMAGENET, "Cityscapes train_fine"),
        size="439MB",
        results=(
            Result(miou="78.79", split="val_fine", output_stride=16, madds="418.64"),
            Result(
                miou="80.42",
                split="val_fine",
                output_stride=8,
                eval_scales=_CITYSCAPES_SCALES,
                flipped=True,
                madds="8677.92",
                flag_file=_MULTI_SCALE_FILE,
            ),
        ),
    ),
    _segmentation(
        "xception71_dpc_cityscapes_trainfine",
        "deeplab_cityscapes_xception71_trainfine_2018_09_08",
        model_variant="xception_71",
        data=_COCO_CITYSCAPES,
        size="445MB",
        results=(Result(miou="80.31", split="val_fine", output_stride=16, madds="502.07"),),
    ),
    _segmentation(
        "xception71_dpc_cityscapes_trainval",
        "deeplab_cityscapes_xception71_trainvalfine_2018_09_08",
        model_variant="xception_71",
        data=(*_COCO, "Cityscapes trainval_fine and coarse"),
        size="446MB",
        results=(
            Result(
                miou="82.66",
                split="test_fine",
                output_stride=8,
                eval_scales=_scales(0.75, 2.0),
                flipped=True,
            ),
        ),
    ),
    _segmentation(
        "EdgeTPU-DeepLab",
        "edgetpu-deeplab_2020_03_09",
        model_variant="mobilenet_edgetpu",
        data=(*_IMAGENET, "Cityscapes train_fine"),
        size="",
        results=(
            Result(miou="70.6", split="val_fine", output_stride=32, madds="5.6"),
            Result(
                miou="74.1",
                split="val_fine",
                output_stride=16,
                madds="7.1",
                flag_file="eval_os16.txt",
            ),
        ),
    ),
    _segmentation(
        "EdgeTPU-DeepLab-slim",
        "edgetpu-deeplab-slim_2020_03_09",
        model_variant="mobilenet_edgetpu",
        depth_multiplier=0.75,
        data=(*_IMAGENET, "Cityscapes train_fine"),
        size="",
        results=(
            Result(miou="70.0", split="val_fine", output_stride=32, madds="3.5"),
            Result(
                miou="73.2",
                split="val_fine",
                output_stride=16,
                madds="4.3",
                flag_file="eval_os16.txt",
            ),
        ),
    ),
    # --- ADE20K ---
    _segmentation(
        "mobilenetv2_ade20k_train",
        "deeplabv3_mnv2_ade20k_train_2018_12_03",
        model_variant="mobilenet_v2",
        data=(*_IMAGENET, "ADE20K train"),
        size="24.8MB",
        results=(Result(miou="32.04", split="val", output_stride=16, pixel_accuracy="75.41"),),
    ),
    _segmentation(
        "xception65_ade20k_train",
        "deeplabv3_xception_ade20k_train_2018_05_29",
        model_variant="xception_65",
        data=(*_IMAGENET, "ADE20K train"),
        size="439MB",
        results=(
            Result(
                miou="45.65",
                split="val",
                output_stride=8,
                eval_scales=_VOC_SCALES,
                flipped=True,
                pixel_accuracy="82.52",
            ),
        ),
    ),
    # --- To start from ---
    _start("xception_41_imagenet", "xception_41_2018_05_09", "288MB", model_variant="xception_41"),
    _start(
        "xception_65_imagenet",
        "deeplabv3_xception_2018_01_04",
        "447MB",
        model_variant="xception_65",
    ),
    _start(
        "xception_65_imagenet_coco",
        "xception_65_coco_pretrained_2018_10_02",
        "292MB",
        model_variant="xception_65",
        data=_COCO,
        recipe="xception65_coco_voc_trainaug",
    ),
    _start("xception_71_imagenet", "xception_71_2018_05_09", "474MB", model_variant="xception_71"),
    _start(
        "resnet_v1_50_beta_imagenet",
        "resnet_v1_50_2018_05_04",
        "274MB",
        model_variant="resnet_v1_50_beta",
    ),
    _start(
        "resnet_v1_101_beta_imagenet",
        "resnet_v1_101_2018_05_04",
        "477MB",
        model_variant="resnet_v1_101_beta",
    ),
    Checkpoint(
        name="mobilenet_v2_1.0_224",
        model_variant="mobilenet_v2",
        data=_IMAGENET,
        url=f"{_MOBILENET_V2}/mobilenet_v2_1.0_224.tgz",
        size="",
        recipe="mobilenetv2_coco_voc_trainaug",
    ),
    Checkpoint(
        name="mobilenet_v2_0.5_224",
        model_variant="mobilenet_v2",
        depth_multiplier=0.5,
        data=_IMAGENET,
        url=f"{_MOBILENET_V2}/mobilenet_v2_0.5_224.tgz",
        size="",
        recipe="mobilenetv2_dm05_coco_voc_trainaug",
    ),
)
NAMES = tuple(checkpoint.name for checkpoint in CHECKPOINTS)


def get(name: str) -> Checkpoint:
    """The checkpoint of that name.

    Raises:
        ValueError: there is none; the message lists those there are.
    """
    for checkpoint in CHECKPOINTS:
        if checkpoint.name == name:
            return checkpoint
    raise ValueError(f"--download={name} is no published checkpoint; known are {', '.join(NAMES)}")
