"""Downloads the archive of a dataset and unpacks it.

The archive and what it holds go to --output_dir. A transfer that breaks is resumed, an archive that
is there already is not downloaded again, and nothing half-written is left.

  python -m deeplab.datasets.download_data --output_dir=pascal_voc_seg \\
      --url=http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar
"""

import filecmp
import os
import urllib.parse
from collections.abc import Sequence

from absl import flags, logging

from deeplab import common
from deeplab.cli import script
from deeplab.utils import files, temporary_files
from deeplab.zoo import download


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Define the flags of this script."""
    define = common.definer("deeplab.datasets.download_data", flag_values)
    define("string", "url", None, "Address of the archive: .tar, .tar.gz or .zip.")
    define("string", "output_dir", ".", "Folder for the archive and what it holds.")


def main(argv: Sequence[str]) -> None:
    """Download an archive, check it and unpack it."""
    del argv
    values = flags.FLAGS
    folder = os.path.abspath(values.output_dir)
    try:
        name = os.path.basename(urllib.parse.urlparse(values.url).path)
    except ValueError as error:
        raise ValueError(f"--url={values.url} is not an address: {error}") from None
    if not name.endswith((".tar", ".tar.gz", ".zip")):
        raise ValueError(f"--url={values.url} is not the address of a .tar, .tar.gz or .zip file")
    archive = os.path.join(folder, name)
    temporary_files.remove_leftovers_of(archive)
    if os.path.exists(archive):
        logging.info("%s is there: it is not downloaded again", archive)
    else:
        logging.info("downloading %s", values.url)
        with files.replacing(archive) as temporary:
            download.fetch(values.url, temporary)
    logging.info("unpacking %s", archive)
    unpack(archive, folder)


def unpack(archive: str, folder: str) -> None:
    """Unpack an archive into a folder, where each entry of its top appears when it is whole.

    An entry that is there with the same content stays: a run that was killed had come so far.

    Args:
        archive: Path of the archive.
        folder: The output folder.

    Raises:
        ValueError: The archive is damaged or unsafe, or an entry is in the folder already, with
            another content.
    """
    with temporary_files.temporary_folder(archive) as unpacked:
        try:
            download.unpack(archive, unpacked)
        except ValueError as error:
            raise ValueError(f"{error}; remove {archive} to download it again") from None
        entries = []
        for entry in sorted(os.listdir(unpacked)):
            if not os.path.lexists(os.path.join(folder, entry)):
                entries.append(entry)
            elif _is_same(os.path.join(unpacked, entry), os.path.join(folder, entry)):
                logging.info("%s is there already", os.path.join(folder, entry))
            else:
                raise ValueError(
                    f"{os.path.join(folder, entry)} is there already: move it away to unpack"
                    f" {os.path.basename(archive)} again"
                )
        for entry in entries:
            os.rename(os.path.join(unpacked, entry), os.path.join(folder, entry))


def _is_same(first: str, second: str) -> bool:
    """Return whether two files, links or folders have the same content."""
    if os.path.islink(first) or os.path.islink(second):
        both = os.path.islink(first) and os.path.islink(second)
        return both and os.readlink(first) == os.readlink(second)
    if os.path.isdir(first) and os.path.isdir(second):
        names = os.listdir(first)
        return sorted(names) == sorted(os.listdir(second)) and all(
            _is_same(os.path.join(first, name), os.path.join(second, name)) for name in names
        )
    files_both = os.path.isfile(first) and os.path.isfile(second)
    return files_both and filecmp.cmp(first, second, shallow=False)


def run() -> None:
    """Parse the flags and run `main`."""
    script.run(main, define_flags, required=("url",), local=("output_dir",))


if __name__ == "__main__":
    run()
