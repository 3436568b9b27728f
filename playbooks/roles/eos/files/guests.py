#!/usr/bin/python3
"""cygnet-guests SETTINGS: keeps the list of this machine's users of /eos, with those whom only the hub knows.

People of an identity provider are in no stack file. The hub writes them into a ConfigMap when they come; this program
watches it with the machine's own certificate, and writes the list that xrdmount reads. What the hub says is looked at
as if it were anybody's: an entry that is no user's, or takes another one's number, is told and left out.

    ConfigMap     data: {"ada": '{"uid": 123456, "groups": ["atlas"]}'}
    SETTINGS      templates/guests.json.j2 shows all of it
    list          docs/reference/xrdmount.md; a guest's entry has "guest" and "groups" besides

While Kubernetes does not answer, the list stays as it is. After each change it waits for the units that SETTINGS names,
which make homes.
"""

import http.client
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

WATCH_SECONDS = 30
SILENT_SECONDS = 15  # how much later than that an answer has to end
AGAIN_SECONDS = 2
UNIT_SECONDS = 300
NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
NUMBERS = range(1000, 2**31)
WARNING, INFO = "<4>", "<6>"  # as the journal reads them

Users = dict[str, dict[str, Any]]


def say(text: str, level: str = INFO) -> None:
    """A line for the journal."""
    print(f"{level}{text}", flush=True)


def notify(lines: str) -> None:
    """Tells systemd how the service is (Type=notify); without systemd nothing is told."""
    if place := os.environ.get("NOTIFY_SOCKET"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as pipe:
            pipe.sendto(lines.encode(), place.replace("@", "\0", 1))


# What the hub says


def entry(name: str, text: str) -> dict[str, Any]:
    """A guest as the list has them.

    >>> entry("ada", '{"uid": 70000, "groups": []}')["home"]
    '/eos/user/a/ada'

    Raises:
        ValueError: It is no user's.
    """
    if not NAME.fullmatch(name):
        raise ValueError("this is no user's name")
    said = json.loads(text)
    if not isinstance(said, dict) or said.keys() != {"uid", "groups"}:
        raise ValueError("it does not say uid and groups, and nothing else")
    uid, groups = said["uid"], said["groups"]
    if type(uid) is not int or uid not in NUMBERS:
        raise ValueError(f"{uid!r} is no user's number")
    if not isinstance(groups, list) or not all(isinstance(group, str) for group in groups):
        raise ValueError("groups is no list of names")
    home = f"/eos/user/{name[0]}/{name}"
    return {"uid": uid, "home": home, "quota": f"/eos/.quota/{name}/bytes", "guest": True, "groups": groups}


def joined(named: Mapping[str, Mapping[str, Any]], told: Mapping[str, str]) -> tuple[Users, list[str]]:
    """All users: those whom the stack names, which nobody can take the place of, and guests; and why some are left out.

    >>> joined({"ada": {"uid": 70000}}, {"bob": '{"uid": 70000, "groups": []}'})[1]
    ['bob is left out: ada has the number 70000']
    """
    users: Users = {name: dict(one) for name, one in named.items()}
    owners = {one["uid"]: name for name, one in users.items()}
    complaints = []
    for name, text in sorted(told.items()):
        if name in users:
            continue
        try:
            found = entry(name, text)
            if (owner := owners.setdefault(found["uid"], name)) != name:
                raise ValueError(f"{owner} has the number {found['uid']}")
        except ValueError as error:
            complaints.append(f"{name[:40]} is left out: {error}")
        else:
            users[name] = found
    return users, complaints


def present(file: Path, named: Mapping[str, Mapping[str, Any]]) -> Users:
    """The list as it was, as far as it still holds: guests are known before Kubernetes answers."""
    try:
        before = json.loads(file.read_text())
    except (OSError, ValueError):
        before = {}
    guests = {
        name: json.dumps({"uid": one["uid"], "groups": one["groups"]})
        for name, one in before.items()
        if one.get("guest")
    }
    return joined(named, guests)[0]


def write(file: Path, users: Users) -> bool:
    """Writes the list in one step; tells whether it was another one."""
    text = json.dumps(users, indent=1, sort_keys=True) + "\n"
    if file.exists() and file.read_text() == text:
        return False
    new = file.with_name(f".{file.name}.new")
    new.write_text(text)
    new.replace(file)
    return True


# Asking Kubernetes


def watched(settings: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """What the ConfigMap says, now and after each change, for half a minute.

    Raises:
        OSError, ValueError, http.client.HTTPException: Kubernetes does not answer, or refuses.
    """
    context = ssl.create_default_context(cafile=settings["authority"])
    context.load_cert_chain(settings["certificate"])  # the kubelet renews it
    connection = http.client.HTTPSConnection(settings["api"], context=context, timeout=WATCH_SECONDS + SILENT_SECONDS)
    namespace, name = settings["list"].split("/")
    query = f"watch=true&timeoutSeconds={WATCH_SECONDS}&fieldSelector=metadata.name%3D{name}"
    try:
        connection.request("GET", f"/api/v1/namespaces/{namespace}/configmaps?{query}")
        answer = connection.getresponse()
        if answer.status != http.HTTPStatus.OK:
            raise OSError(f"{answer.status}: {json.load(answer).get('message')}")
        while line := answer.readline():
            event = json.loads(line)
            if event["type"] == "ERROR":
                raise OSError(event["object"].get("message"))
            if event["type"] != "DELETED":
                yield event["object"].get("data") or {}
    finally:
        connection.close()


# The service


def wait_for(units: Sequence[str]) -> None:
    """Runs units that end by themselves, and waits."""
    for unit in units:
        try:
            subprocess.run(["systemctl", "start", unit], check=True, timeout=UNIT_SECONDS)
        except (OSError, subprocess.SubprocessError) as error:
            say(f"{unit}: {error}", WARNING)


def main() -> None:
    """Keeps the list until it is ended."""
    settings = json.loads(Path(sys.argv[1]).read_text())
    file, named = Path(settings["users"]), settings["named"]
    write(file, present(file, named))
    notify("READY=1\nSTATUS=has not asked Kubernetes yet")
    told: list[str] = []
    while True:
        try:
            for data in watched(settings):
                users, complaints = joined(named, data)
                for line in complaints:
                    if line not in told:
                        say(line, WARNING)
                told = complaints
                notify(f"STATUS={len(users) - len(named)} guests")
                if write(file, users):
                    say(f"{len(users) - len(named)} guests")
                    if settings["units"]:
                        wait_for(settings["units"])
                        break  # it is asked anew: a whole class that came meanwhile is one change
        except (OSError, ValueError, http.client.HTTPException) as error:
            complaint = f"Kubernetes does not tell who comes: {error}"
            if told != [complaint]:
                say(complaint, WARNING)
            told = [complaint]
            notify(f"STATUS={complaint}")
            time.sleep(AGAIN_SECONDS)


if __name__ == "__main__":
    main()
