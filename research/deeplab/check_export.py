r"""Checks an export before a roll-out: its signatures, and whether a server can run it.

It prints signatures, sizes, variables and versions; loads the SavedModel as TensorFlow Serving
does; replays the warm-up requests; and sends an image to every signature, also in a batch with one
that is bad. Faults, warnings and notes follow. The exit code is 1 if there is a fault; with
--fail_on=warning it is 2 if there is a warning.

Example:
    python -m deeplab.check_export --export_path=models/pascal
"""

from collections.abc import Sequence

from absl import flags

from deeplab import common
from deeplab.cli import script, writable

# Exit codes where a fault was found, and where a warning was asked to fail.
_FAULTY, _WARNED = 1, 2


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Define the flags of this script."""
    define = common.definer("deeplab.check_export", flag_values)
    define(
        "string",
        "export_path",
        None,
        "Folder of a SavedModel, or of its versions: the one that a server takes is checked.",
    )
    define(
        "string", "image", None, "Image to send to every signature. Default: a drawn photograph."
    )
    define(
        "string",
        "server_config_dir",
        None,
        "Folder of models.config and monitoring.config. Default: those beside the export are"
        " checked, if there are any.",
    )
    define("string", "json", None, "File to write the report to, as JSON.")
    define(
        "enum",
        "fail_on",
        "fault",
        "Findings that change the exit code: faults (1), or warnings as well (2).",
        enum_values=["fault", "warning"],
    )


def main(argv: Sequence[str]) -> int:
    """Check an export and print the report; return the exit code."""
    del argv
    values = flags.FLAGS
    # Imports TensorFlow, which takes seconds: not for --help.
    from deeplab.serving import check_report, export_check, findings

    if values.json:
        writable.check_file("json", values.json, writable.EXPORT_REPORT)
    report = export_check.check(values.export_path, values.image, values.server_config_dir)
    print(check_report.text(report))
    if values.json:
        check_report.write_json(values.json, report)
    if report.findings.has(findings.FAULT):
        return _FAULTY
    is_bad = values.fail_on == "warning" and report.findings.has(findings.WARNING)
    return _WARNED if is_bad else 0


def run() -> None:
    """Parse the flags and run `main`."""
    script.run(main, define_flags, required=("export_path",), cpu_only=True)


if __name__ == "__main__":
    run()
