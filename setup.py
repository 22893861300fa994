"""Installs the package `deeplab` from `research/` and its commands."""

import pathlib
import re

import setuptools
from setuptools.command import build_py

ROOT = pathlib.Path(__file__).parent
VERSION = re.search(
    r'__version__ = "(.+)"', (ROOT / "research/deeplab/__init__.py").read_text()
).group(1)

SCRIPTS = {
    "deeplab-train": "deeplab.train",
    "deeplab-eval": "deeplab.eval",
    "deeplab-vis": "deeplab.vis",
    "deeplab-export-model": "deeplab.export_model",
    "deeplab-convert-to-tflite": "deeplab.convert_to_tflite",
    "deeplab-predict": "deeplab.predict",
    "deeplab-check-export": "deeplab.check_export",
    "deeplab-make-recipe": "deeplab.make_recipe",
    "deeplab-model-zoo": "deeplab.model_zoo",
    "deeplab-model-info": "deeplab.model_info",
    "deeplab-build-voc2012-data": "deeplab.datasets.build_voc2012_data",
    "deeplab-build-cityscapes-data": "deeplab.datasets.build_cityscapes_data",
    "deeplab-build-ade20k-data": "deeplab.datasets.build_ade20k_data",
    "deeplab-build-custom-data": "deeplab.datasets.build_custom_data",
    "deeplab-build-tfds-data": "deeplab.datasets.build_tfds_data",
    "deeplab-download-data": "deeplab.datasets.download_data",
    "deeplab-remove-gt-colormap": "deeplab.datasets.remove_gt_colormap",
    "deeplab-check-data": "deeplab.datasets.check_data",
    "deeplab-make-sample-data": "deeplab.datasets.make_sample_data",
    "deeplab-eval-coco-format": "deeplab.evaluation.eval_coco_format",
}

# What only a checkout has; the wheel holds what users run.
TEST_MODULE = re.compile(r".+_test|conftest")


class BuildWithoutTests(build_py.build_py):
    """Leaves the tests that lie beside their modules out of the wheel."""

    def find_package_modules(self, package, package_dir):
        """Return the modules of a package but its tests."""
        modules = super().find_package_modules(package, package_dir)
        return [found for found in modules if not TEST_MODULE.fullmatch(found[1])]


setuptools.setup(
    name="deeplab",
    version=VERSION,
    description="DeepLab, v1 to v3+, for TensorFlow 2 and Keras 3",
    long_description=(ROOT / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    classifiers=[
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
    package_dir={"": "research"},
    packages=setuptools.find_packages("research", exclude=["deeplab.testing*"]),
    package_data={
        "deeplab": ["recipes/**/*", "datasets/*.sh", "visualization/*.css", "visualization/*.js"]
    },
    cmdclass={"build_py": BuildWithoutTests},
    python_requires=">=3.11",
    # tools/test_oldest.sh runs the tests with the oldest versions.
    install_requires=[
        # The flags of every script, and their logs.
        "absl-py>=2.1,<3",
        # What the hosts of a run tell each other when they end. TensorFlow needs it, too.
        "grpcio>=1.59,<2",
        # Layers, schedules, optimizers and metrics are Keras objects.
        "keras>=3.9,<3.16",
        # Keras' own weights files, which it reads and writes with it too.
        "h5py>=3.10,<4",
        # Arrays, metrics and pictures.
        "numpy>=2.1,<3",
        # Image files that are read and written outside the graph. The headless wheel is the same
        # module without the windows, so that it imports on a server that has no libGL.so.1.
        "opencv-python-headless>=4.10,<6",
        # The YAML files in which Ultralytics describes datasets.
        "pyyaml>=6,<7",
        # The curves and pictures that training and evaluation write.
        "tensorboard>=2.19,<2.22",
        # Everything that computes, and the files: records, checkpoints, exports.
        "tensorflow>=2.19,<2.22",
    ],
    extras_require={
        "beam": [
            # The pipelines that convert and predict on many machines. TensorFlow 2.21 needs the
            # protobuf that earlier versions refuse.
            "apache-beam>=2.70,<3",
        ],
        "tfds": [
            # The datasets that deeplab-build-tfds-data converts.
            "tensorflow-datasets>=4.9,<5",
            # Release 4.9.10 of it imports this without requiring it.
            "importlib_resources>=6,<8",
        ],
        "onnx": [
            # Writes ONNX models. It takes the onnx that fits the protobuf of TensorFlow.
            "tf2onnx>=1.17,<2",
            # Runs them.
            "onnxruntime>=1.32,<2",
        ],
        "openvino": [
            # Runs SavedModels and ONNX models; nothing here imports it.
            "openvino>=2026.4,<2027",
        ],
        "litert": [
            # Runs TensorFlow Lite models, faster than the interpreter within TensorFlow.
            "ai-edge-litert>=2.3,<3",
        ],
        "serving": [
            # The protocol buffers of TensorFlow Serving, for clients of your own; nothing here
            # imports it. Its version is that of TensorFlow.
            "tensorflow-serving-api>=2.19,<2.22",
        ],
        "test": [
            # ONNX and TensorFlow Lite models are compared with their networks, as the extras do.
            "tf2onnx>=1.17,<2",
            "onnxruntime>=1.32,<2",
            "ai-edge-litert>=2.3,<3",
            # Exports answer a server that speaks TensorFlow Serving's protocol buffers.
            "tensorflow-serving-api>=2.19,<2.22",
            # The pipelines that are tested.
            "apache-beam>=2.70,<3",
            # A dataset of it is made and converted.
            "tensorflow-datasets>=4.9,<5",
            "importlib_resources>=6,<8",
            # Runs the tests.
            "pytest>=9,<10",
            # Runs them on all cores.
            "pytest-xdist>=3.8,<4",
            # Checks and formats the code.
            "ruff>=0.17,<0.18",
            # Checks which folder may import which (pyproject.toml), inside functions too.
            "import-linter>=2.17,<3",
            # Opens the report of an evaluation in Chromium, which it does not install.
            "playwright>=1.49,<2",
            # Builds the wheel whose contents are tested.
            "setuptools>=77,<90",
        ],
    },
    entry_points={
        "console_scripts": [f"{name} = {module}:run" for name, module in SCRIPTS.items()]
    },
)
