"""What the cloud is made of, obtained once and kept in the cache under the digest of its recipe.

    <cache>/testcloud/services-<key>    virtual environment with the services, from PyPI by requirements.lock
    <cache>/testcloud/database-<key>    MariaDB's binaries, unpacked from Debian's packages
    <cache>/testcloud/image-<key>       the image that servers boot: Debian with cloud-init
    <cache>/testcloud/prepared-<key>    the cloud's data after its first start, packed (`preparation`)
    <cache>/testcloud/root-<checksum>   images as servers have them below their own files, unpacked by Nova's driver

A folder is complete or not there: it is made under another name and renamed, except for the virtual environment, which
cannot be moved and has a mark when it is complete.
"""

import hashlib
import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from components.local_machines import apt, base_image
from components.sources import files
from engine import cache
from engine.process import Runner
from engine.progress import Progress
from engine.versions import VERSIONS
from tests.testcloud import names

_LOCK: Final = Path(__file__).with_name("requirements.lock")
_COMPLETE: Final = ".complete"
_DECIDING: Final = ("database", "names", "preparation", "settings")

_DATABASE_PACKAGES: Final = (
    "mariadb-server-core", "mariadb-client-core", "mariadb-common", "libmariadb3", "libaio1", "liburing2",
)  # fmt: skip

_IMAGE_PACKAGES: Final = (
    "ca-certificates", "cloud-init", "dbus", "ifupdown", "iproute2", "kmod", "net-tools", "netbase", "nftables",
    "openresolv", "openssh-server", "procps", "python3", "python3-apt", "sudo", "systemd", "systemd-sysv", "udev",
)  # fmt: skip
_IMAGE_LEFT_OUT: Final = (
    "/usr/share/doc/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/man/*",
    # Settings for a whole kernel: a server that may write /proc/sys would give them to this host.
    "/usr/lib/sysctl.d/*",
)  # fmt: skip
_IMAGE_MASKED: Final = (
    # The kernel's devices and clock are the host's, and there is no mirror to look for updates on.
    "apt-daily-upgrade.timer", "apt-daily.timer", "console-getty.service", "e2scrub_reap.service",
    "systemd-networkd-wait-online.service", "systemd-timesyncd.service", "systemd-udevd-control.socket",
    "systemd-udevd-kernel.socket", "systemd-udevd.service",
)  # fmt: skip
_CLOUD_INIT: Final = """\
datasource_list: [ConfigDrive, None]
ssh_genkeytypes: [ed25519]
growpart: {mode: "off"}
resize_rootfs: false
apt_preserve_sources_list: true
locale: false
"""
_INTERFACES: Final = "auto lo\niface lo inet loopback\nsource /etc/network/interfaces.d/*\n"
_KERNEL_UNITS: Final = {
    # The kernel is the host's: it has what it has, and of its settings only those of the network are a server's own.
    "systemd-modules-load": "ExecStart=/bin/true",
    "systemd-sysctl": "ExecStart=/lib/systemd/systemd-sysctl --prefix=/net",
}
_CGROUP_UNIT: Final = Path(base_image.__file__).with_name("base_files") / "etc/systemd/system/cgroup-rw.service"
_IMAGE_DISABLED: Final = ("docker-registry.service", "nginx.service", "squid.service")
"""What would run without its configuration, because the image has the packages of all roles."""
_IMAGE_HOOKS: Final = (
    f'chroot "$1" systemctl --quiet mask {" ".join(_IMAGE_MASKED)}',
    f'chroot "$1" systemctl --quiet disable {" ".join(_IMAGE_DISABLED)}',
    # Servers are containers as local machines are, and have to make control groups as those do.
    f'printf %s {shlex.quote(_CGROUP_UNIT.read_text())} > "$1"/etc/systemd/system/{_CGROUP_UNIT.name}',
    f'chroot "$1" systemctl --quiet enable {_CGROUP_UNIT.name}',
    'rm --force "$1"/etc/ssh/ssh_host_* "$1"/etc/hostname "$1"/etc/resolv.conf "$1"/etc/network/interfaces.d/*',
    ': > "$1"/etc/machine-id',
    f"printf %s '{_CLOUD_INIT}' > \"$1\"/etc/cloud/cloud.cfg.d/90_testcloud.cfg",
    f"printf %s '{_INTERFACES}' > \"$1\"/etc/network/interfaces",
    # Nobody answers at the network's DNS server: what asks all the same should not wait for long.
    """echo 'resolv_conf_options="timeout:1 attempts:1"' >> "$1"/etc/resolvconf.conf""",
    *(
        f'mkdir "$1"/etc/systemd/system/{unit}.service.d && '
        f"printf '[Service]\nExecStart=\n{start}\n' > \"$1\"/etc/systemd/system/{unit}.service.d/testcloud.conf"
        for unit, start in _KERNEL_UNITS.items()
    ),
)


@dataclass(frozen=True)
class Pieces:
    """Where everything is."""

    services: Path
    database: Path
    image: Path
    prepared: Path

    @property
    def environment(self) -> dict[str, str]:
        """What the services' programs need to find all that is ours."""
        return {
            "PYTHONPATH": f"{names.PROJECT}:{names.PLUGINS}",
            "PYTHONWARNINGS": "ignore",
            "OS_CLIENT_CONFIG_FILE": str(names.CLOUDS),
            "TESTCLOUD_ROOTS": str(store()),
        }


def ensure(progress: Progress) -> Pieces:
    """All pieces, obtained if need be.

    Raises:
        BuildFailed: One cannot be had; the message has the log.
    """
    made = services(progress), database(progress), image(progress)
    # What decides what a first start makes: the versions of the services, and our own code about them.
    ours = [file.read_text() for file in sorted(Path(__file__).parent.glob("*.py")) if file.stem in _DECIDING]
    return Pieces(
        *made, store() / f"prepared-{_key(*(piece.parent.name + piece.name for piece in made), *ours)}.tar.zst"
    )


def store() -> Path:
    """The folder of all pieces."""
    return cache.root() / names.WORD


def services(progress: Progress) -> Path:
    """The virtual environment of the services; about a minute the first time."""
    folder = store() / f"services-{_key(_LOCK.read_text(), sys.version)}"
    with files.locked(store() / ".lock", waiting=lambda: progress.at("waiting for another run")):
        if not (folder / _COMPLETE).exists():
            shutil.rmtree(folder, ignore_errors=True)
            progress.begin("test cloud: services from PyPI")
            run = Runner("services", cache.root() / "logs" / "testcloud-services.log", progress)
            run.run("make a virtual environment", [sys.executable, "-m", "venv", str(folder)])
            pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--require-hashes", "--requirement"]
            run.run("install", [*pip, str(_LOCK)])
            (folder / _COMPLETE).touch()
    return folder


def database(progress: Progress) -> Path:
    """The folder that MariaDB is unpacked in."""

    def make(folder: Path, run: Runner) -> None:
        packages = folder / "packages"
        packages.mkdir()
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        # As root, because apt's own user may not write here.
        download = ["apt-get", "--option", "APT::Sandbox::User=root", "download", *_DATABASE_PACKAGES]
        run.run("download", download, cwd=packages, env=environment)
        for package in sorted(packages.glob("*.deb")):
            run.run("unpack", ["dpkg-deb", "--extract", str(package), str(folder)])
        shutil.rmtree(packages)

    return _obtained("database", _key(_DATABASE_PACKAGES), make, progress)


def image(progress: Progress) -> Path:
    """The image's file, a tar archive; about two minutes the first time.

    Servers reach no mirror: as at a site whose machines reach none, the image has the packages of all roles.
    """
    suite = VERSIONS["debian_machines"]
    packages = sorted({*_IMAGE_PACKAGES, *base_image.packages()})

    def make(folder: Path, run: Runner) -> None:
        sources = folder / "apt.sources"
        sources.write_text(apt.sources_of(suite))
        command = [
            "mmdebstrap", "--variant=minbase", "--mode=root", f"--include={','.join(packages)}",
            '--aptopt=APT::Install-Recommends "false"', "--dpkgopt=force-unsafe-io",
            *(f"--dpkgopt=path-exclude={pattern}" for pattern in _IMAGE_LEFT_OUT),
            *(f"--customize-hook={hook}" for hook in _IMAGE_HOOKS),
            suite, str(folder / "image.tar"), str(sources),
        ]  # fmt: skip
        run.run("mmdebstrap", command, cwd=Path("/"))
        sources.unlink()

    key = _key(suite, packages, _IMAGE_LEFT_OUT, _IMAGE_HOOKS)
    return _obtained("image", key, make, progress) / "image.tar"


def _obtained(piece: str, key: str, make: Callable[[Path, Runner], None], progress: Progress) -> Path:
    folder = store() / f"{piece}-{key}"
    with files.locked(store() / ".lock", waiting=lambda: progress.at("waiting for another run")):
        if not folder.exists():
            progress.begin(f"test cloud: {piece}")
            workshop = folder.with_name(f".making-{piece}")
            shutil.rmtree(workshop, ignore_errors=True)
            workshop.mkdir(parents=True)
            make(workshop, Runner(piece, cache.root() / "logs" / f"testcloud-{piece}.log", progress))
            workshop.rename(folder)
    return folder


def _key(*inputs: object) -> str:
    return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()[: cache.KEY_LENGTH]
