"""image.py makes the same image from the same files, and says what it lacks."""

import json
import subprocess
import sys
import tarfile
import tempfile
import unittest
from pathlib import Path

TOOL = Path(__file__).resolve().parent / "image.py"


class Image(unittest.TestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)

    def make(self, *arguments: str, name: str = "localhost/it:1") -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, TOOL, "--name", name, "--output", self.directory / "image.tar", *arguments],
            capture_output=True,
            text=True,
        )

    def blob(self, descriptor: dict) -> tarfile.ExFileObject:
        return self.archive.extractfile("blobs/" + descriptor["digest"].replace(":", "/"))

    def test_an_image_holds_the_program_its_libraries_and_a_user_without_rights(self) -> None:
        web = self.directory / "web/assets"
        web.mkdir(parents=True)
        (web / "page.html").write_text("hello")
        # Any program that is linked with shared libraries will do.
        made = self.make("--program", "/usr/bin/env", "--tree", f"{web.parent}=/srv/web")
        self.assertEqual(made.returncode, 0, made.stderr)
        with tarfile.open(self.directory / "image.tar") as self.archive:
            index = json.load(self.archive.extractfile("index.json"))
            self.assertEqual(index["manifests"][0]["annotations"]["io.containerd.image.name"], "localhost/it:1")
            manifest = json.load(self.blob(index["manifests"][0]))
            config = json.load(self.blob(manifest["config"]))["config"]
            self.assertEqual((config["User"], config["Entrypoint"]), ("65532:65532", ["/usr/bin/env"]))
            with tarfile.open(fileobj=self.blob(manifest["layers"][0])) as root:
                names = root.getnames()
                self.assertEqual(root.extractfile("srv/web/assets/page.html").read(), b"hello")
                self.assertEqual(root.getmember("usr/bin/env").mode, 0o755)
        self.assertTrue(any(name.rpartition("/")[2].startswith("libc.so") for name in names), names)
        self.assertEqual(len(names), len(set(names)))

    def test_the_same_files_make_the_same_bytes(self) -> None:
        images = []
        for _ in range(2):
            self.make("--program", "/usr/bin/env")
            images.append((self.directory / "image.tar").read_bytes())
        self.assertEqual(images[0], images[1])

    def test_what_is_missing_is_said(self) -> None:
        for arguments, name, message in [
            (["--program", "/nowhere/node"], "localhost/it:1", "no program /nowhere/node; is it built?"),
            (["--program", "/usr/bin/env", "--tree", "/nowhere=/srv"], "localhost/it:1", "no directory /nowhere"),
            (["--program", "/usr/bin/env", "--tree", "/etc"], "localhost/it:1", "not of the form DIR=/PATH"),
            (["--program", "/usr/bin/env"], "localhost/it", "not of the form registry/path:tag"),
            (["--program", "/usr/bin/env"], "localhost:5000/it", "not of the form registry/path:tag"),
        ]:
            with self.subTest(arguments=arguments, name=name):
                made = self.make(*arguments, name=name)
                self.assertNotEqual(made.returncode, 0)
                self.assertIn(message, made.stderr)


if __name__ == "__main__":
    unittest.main()
