"""Small Python packages, as pip installs them, made here: machines of a test reach no package index."""

import base64
import io
import zipfile
from collections.abc import Mapping


def wheel(name: str, version: str, files: Mapping[str, str], *, programs: Mapping[str, str] | None = None) -> bytes:
    """A wheel.

    Args:
        name: Of the package, with underscores.
        version: Of it.
        files: Text by path.
        programs: What is called, such as "module:function", by the program's name.
    """
    info = f"{name}-{version}.dist-info"
    listed = "".join(f"{program} = {called}\n" for program, called in (programs or {}).items())
    texts = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{listed}",
    }
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for path, text in texts.items():
            archive.writestr(path, text)
        archive.writestr(f"{info}/RECORD", "".join(f"{path},,\n" for path in (*texts, f"{info}/RECORD")))
    return made.getvalue()


def uploads(wheels: Mapping[str, bytes]) -> dict[str, dict[str, str]]:
    """Wheels by the name of their file, as Jupyter's API takes files."""
    return {
        name: {"type": "file", "format": "base64", "content": base64.b64encode(content).decode()}
        for name, content in wheels.items()
    }
