"""Commands of this host, for services."""

import subprocess


def run(*argv: str, stdin: str = "", check: bool = True) -> str:
    """Runs a command and returns what it says; where it matters, raises an error with what it complained of."""
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False, timeout=120)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: {done.stderr.strip() or done.returncode}")
    return done.stdout.strip()


def interfaces(namespace: str | None = None) -> set[str]:
    """The names of the links in a network namespace, or in this host's own."""
    where = ("-n", namespace) if namespace else ()
    lines = run("ip", *where, "-brief", "link", check=False).splitlines()
    return {line.split()[0].partition("@")[0] for line in lines}


def namespaces() -> set[str]:
    """The network namespaces that have a name."""
    return {line.split()[0] for line in run("ip", "netns", "list").splitlines() if line}


def ensure_namespace(name: str) -> None:
    """Makes a network namespace, if need be."""
    if name not in namespaces():
        run("ip", "netns", "add", name)
        run("ip", "-n", name, "link", "set", "lo", "up")
