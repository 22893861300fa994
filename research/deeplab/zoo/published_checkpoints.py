"""The official published checkpoints: networks, training data, results and URLs.

The facts come from the official `g3doc/model_zoo.md` and `g3doc/quantize.md`, and from slim's
`nets/mobilenet/README.md` for the MobileNetV2 of ImageNet.
"""

import dataclasses

_DEEPLAB = "https://download.tensorflow.org/models"
_MOBILENET_V2 = "https://storage.googleapis.com/mobilenet_v2/checkpoints"

_MEGABYTE = 10**6
_MEBIBYTE = 2**20


@dataclasses.dataclass(frozen=True, kw_only=True)
class PublishedResult:
    """A published result.

    Attributes:
        miou: Mean intersection over union in percent, with the published digits.
        split: Split of the evaluation, as flags name it.
        output_stride: Output stride of the evaluation.
        eval_scales: Scales of the images in the evaluation.
        flipped: Flipped images were evaluated too.
        madds: Billions of multiply-adds per image; None: not published.
        pixel_accuracy: Pixel accuracy in percent; None: not published.
        flag_file: File with the settings, in the folder of the checkpoint's recipe.
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
        """Return whether it was measured on a test set, whose labels are secret."""
        return self.split.startswith("test")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PublishedCheckpoint:
    """A published checkpoint.

    Attributes:
        name: Official name.
        model_variant: Model variant of its network.
        depth_multiplier: Depth multiplier of its network.
        data: The datasets it was trained on, in order.
        url: URL of the archive.
        size: Published size of the archive ("23MB"); "": not published.
        recipe: Folder in `recipes/` with its settings.
        results: Published results. A checkpoint without results is a starting point for training.
        num_bytes: Exact size of the archive; None: unknown.
        digest: Digest of the archive, such as "sha256:..."; None: unknown.
    """

    name: str
    model_variant: str
    depth_multiplier: float = 1.0
    data: tuple[str, ...]
    url: str
    size: str
    recipe: str
    results: tuple[PublishedResult, ...] = ()
    num_bytes: int | None = None
    digest: str | None = None

    @property
    def backbone(self) -> str:
        """Return the name of the backbone with its depth multiplier."""
        factor = "" if self.depth_multiplier == 1 else f" x{self.depth_multiplier:g}"
        return self.model_variant + factor

    @property
    def size_limits(self) -> tuple[int, int | None]:
        """Return the least and the largest possible number of bytes of the archive; None: any.

        A published size is rounded, is in megabytes or mebibytes, and may be that of the unpacked
        folder, which is hardly larger. So it may be off by a tenth.
        """
        if self.num_bytes is not None:
            return self.num_bytes, self.num_bytes
        if not self.size:
            return 0, None
        megabytes = float(self.size.removesuffix("MB"))
        return int(0.9 * megabytes * _MEGABYTE), int(1.1 * megabytes * _MEBIBYTE)


def _scales(first: float, last: float) -> tuple[float, ...]:
    """Return scales from the first to the last in steps of 0.25."""
    return tuple(first + 0.25 * index for index in range(round((last - first) / 0.25) + 1))


_VOC_SCALES = _scales(0.5, 1.75)
_CITYSCAPES_SCALES = _scales(0.75, 1.25)
_MULTI_SCALE_FILE = "eval_os8_multi_scale.txt"

_IMAGENET = ("ImageNet",)
_COCO = (*_IMAGENET, "MS-COCO")
_COCO_VOC = (*_COCO, "VOC 2012 train_aug")
_COCO_CITYSCAPES = (*_COCO, "Cityscapes train_fine")
_TRAINVAL = "VOC 2012 trainval"


def _segmentation(name: str, archive: str, **fields) -> PublishedCheckpoint:
    """Return a segmentation checkpoint, whose recipe has its name."""
    return PublishedCheckpoint(name=name, url=f"{_DEEPLAB}/{archive}.tar.gz", recipe=name, **fields)


def _start(name: str, archive: str, size: str, **fields) -> PublishedCheckpoint:
    """Return a checkpoint to start training from."""
    fields = {"recipe": name, "data": _IMAGENET, "url": f"{_DEEPLAB}/{archive}.tar.gz", **fields}
    return PublishedCheckpoint(name=name, size=size, **fields)


CHECKPOINTS: tuple[PublishedCheckpoint, ...] = (
    # --- PASCAL VOC 2012 ---
    _segmentation(
        "mobilenetv2_dm05_coco_voc_trainaug",
        "deeplabv3_mnv2_dm05_pascal_trainaug_2018_10_01",
        model_variant="mobilenet_v2",
        depth_multiplier=0.5,
        data=_COCO_VOC,
        size="7.6MB",
        results=(PublishedResult(miou="70.19", split="val", output_stride=16, madds="0.88"),),
    ),
    _segmentation(
        "mobilenetv2_dm05_coco_voc_trainaug_8bit",
        "deeplabv3_mnv2_dm05_pascal_train_aug_8bit_2019_04_26",
        model_variant="mobilenet_v2",
        depth_multiplier=0.5,
        data=_COCO_VOC,
        size="8.2MB",
        results=(PublishedResult(miou="69.65", split="val", output_stride=16, madds="0.88"),),
    ),
    _segmentation(
        "mobilenetv2_dm05_coco_voc_trainval",
        "deeplabv3_mnv2_dm05_pascal_trainval_2018_10_01",
        model_variant="mobilenet_v2",
        depth_multiplier=0.5,
        data=(*_COCO_VOC, _TRAINVAL),
        size="7.6MB",
        results=(PublishedResult(miou="71.83", split="test", output_stride=8, madds="2.84"),),
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
            PublishedResult(miou="75.32", split="val", output_stride=16, madds="2.75"),
            PublishedResult(
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
        results=(PublishedResult(miou="74.26", split="val", output_stride=16, madds="2.75"),),
    ),
    _segmentation(
        "mobilenetv2_coco_voc_trainval",
        "deeplabv3_mnv2_pascal_trainval_2018_01_29",
        model_variant="mobilenet_v2",
        data=(*_COCO_VOC, _TRAINVAL),
        size="23MB",
        # Two projects that convert this file to other formats state the same digest.
        digest="sha256:2b7fe43461c2d9d56b3ed6baed5547fc066361ba12ab84c8e85f0c31914c034f",
        results=(
            PublishedResult(
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
            PublishedResult(miou="82.20", split="val", output_stride=16, madds="54.17"),
            PublishedResult(
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
            PublishedResult(
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
            PublishedResult(miou="70.71", split="val_fine", output_stride=16, madds="21.27"),
            PublishedResult(
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
        results=(PublishedResult(miou="72.41", split="val_fine", output_stride=32, madds="15.95"),),
    ),
    _segmentation(
        "mobilenetv3_small_cityscapes_trainfine",
        "deeplab_mnv3_small_cityscapes_trainfine_2019_11_15",
        model_variant="mobilenet_v3_small_seg",
        data=("Cityscapes train_fine",),
        size="5MB",
        results=(PublishedResult(miou="68.99", split="val_fine", output_stride=32, madds="4.63"),),
    ),
    _segmentation(
        "xception65_cityscapes_trainfine",
        "deeplabv3_cityscapes_train_2018_02_06",
        model_variant="xception_65",
        data=(*_IMAGENET, "Cityscapes train_fine"),
        size="439MB",
        results=(
            PublishedResult(miou="78.79", split="val_fine", output_stride=16, madds="418.64"),
            PublishedResult(
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
        results=(
            PublishedResult(miou="80.31", split="val_fine", output_stride=16, madds="502.07"),
        ),
    ),
    _segmentation(
        "xception71_dpc_cityscapes_trainval",
        "deeplab_cityscapes_xception71_trainvalfine_2018_09_08",
        model_variant="xception_71",
        data=(*_COCO, "Cityscapes trainval_fine and coarse"),
        size="446MB",
        results=(
            PublishedResult(
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
            PublishedResult(miou="70.6", split="val_fine", output_stride=32, madds="5.6"),
            PublishedResult(
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
            PublishedResult(miou="70.0", split="val_fine", output_stride=32, madds="3.5"),
            PublishedResult(
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
        results=(
            PublishedResult(miou="32.04", split="val", output_stride=16, pixel_accuracy="75.41"),
        ),
    ),
    _segmentation(
        "xception65_ade20k_train",
        "deeplabv3_xception_ade20k_train_2018_05_29",
        model_variant="xception_65",
        data=(*_IMAGENET, "ADE20K train"),
        size="439MB",
        results=(
            PublishedResult(
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
    PublishedCheckpoint(
        name="mobilenet_v2_1.0_224",
        model_variant="mobilenet_v2",
        data=_IMAGENET,
        url=f"{_MOBILENET_V2}/mobilenet_v2_1.0_224.tgz",
        size="",
        recipe="mobilenetv2_coco_voc_trainaug",
    ),
    PublishedCheckpoint(
        name="mobilenet_v2_0.5_224",
        model_variant="mobilenet_v2",
        depth_multiplier=0.5,
        data=_IMAGENET,
        url=f"{_MOBILENET_V2}/mobilenet_v2_0.5_224.tgz",
        size="",
        recipe="mobilenetv2_dm05_coco_voc_trainaug",
    ),
)


def get(name: str) -> PublishedCheckpoint:
    """Return the checkpoint of that name.

    Raises:
        ValueError: There is no such checkpoint. The message lists the known names.
    """
    for checkpoint in CHECKPOINTS:
        if checkpoint.name == name:
            return checkpoint
    known = ", ".join(checkpoint.name for checkpoint in CHECKPOINTS)
    raise ValueError(f"--download={name} is not a published checkpoint; known are {known}")
