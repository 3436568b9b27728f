"""SWAN's page: each choice of ours is some of its fields, and nothing else that is sent is one."""

from itertools import product
from typing import Any

import pytest
from cygnet_hub import swan
from cygnet_hub.choices import choices, open_to, template_paths, titles
from cygnet_hub.settings import Sessions
from tornado.web import HTTPError

from components.hub_config import HubConfig

VIEWS = "/cvmfs/sft.cern.ch/lcg/views"
SIZE = {"cores": 2, "memory_gib": 4}
GIVEN: dict[str, Any] = {
    "image": "registry:5000/cygnet/session:1",
    "page": "swan",
    "size": SIZE,
    "profiles": [
        {"name": "standard", "title": "Standard", **SIZE},
        {"name": "large", "title": "Large", "cores": 8, "memory_gib": 16, "groups": ["staff"]},
        {"name": "gpu", "title": "With a GPU", "cores": 2, "memory_gib": 16, "gpu": {"model": "t4"}},
        {"name": "two", "title": "With two", "cores": 2, "memory_gib": 16, "gpu": {"model": "t4", "count": 2}},
    ],
    "releases": [
        {"name": "stable", "title": "Stable", "description": "ROOT </script>", "view": "/cvmfs/s.example/stable"},
        {"name": "lcg", "title": "LCG 107", "view": f"{VIEWS}/LCG_107/x86_64-el9-gcc13-opt"},
        {"name": "lcg-debug", "title": "LCG 107", "view": f"{VIEWS}/LCG_107/x86_64-el9-gcc13-dbg"},
    ],
    "interfaces": [
        {"name": "document", "title": "One document", "url": "/doc"},
        {"name": "lab", "title": "JupyterLab", "url": "/lab"},
    ],
    "scripts": True,
    "eos_claim": "eos",
    "cvmfs_claim": "cvmfs",
    "clusters": [
        {
            "name": "here",
            "kind": "kubernetes",
            "title": "Here",
            "max": 2,
            "cores": 1,
            "cores_guaranteed": 0.1,
            "memory_gib": 2,
        },
    ],
    "spark": {"view": "/cvmfs/s.example/spark", "api_servers": ["10.0.0.1"], "api_port": 6443},
}
SESSIONS = Sessions.model_validate(GIVEN)
SMALLEST = Sessions.model_validate(
    {"image": "i", "page": "swan", "size": SIZE, "home": {"storage_class": "s"}, "releases": GIVEN["releases"][:1]}
)
SENT = {
    "software_source": ["lcg"], "lcg": ["stable"], "platforms": ["none", ""], "cores": ["2"], "memory": ["4"],
    "gpu": ["none"], "clusters": ["none"], "scriptenv": [""],
    # What the page has besides, and sends as it is.
    "condor": ["none"], "rucio": ["none"], "rucioRSE": ["none"], "rse_mount_path": [""], "path_begins_at": ["0"],
    "file": [""], "repository": [""],
}  # fmt: skip


class Someone:
    """A spawner of whoever is in these groups."""

    def __init__(self, *groups: str) -> None:
        self.user = self
        self.groups = [type("Group", (), {"name": name}) for name in groups]


def test_what_the_page_sends_for_each_choice_is_that_choice() -> None:
    offered = titles(SESSIONS)
    for values in product(*offered.values()):
        wanted = dict(zip(offered, values, strict=True))
        fields: dict[str, str] = {}
        for option, value in wanted.items():
            fields |= swan.fields(SESSIONS)[option][value]
        sent = {**SENT, **{name: [value] for name, value in fields.items() if value}}
        assert swan.chosen(sent, SESSIONS) == wanted


@pytest.mark.parametrize(
    ("script", "read"),
    [("~/setup.sh", "~/setup.sh"), ("$CERNBOX_HOME/a/b.sh", "~/a/b.sh"), ("/etc/passwd", "/etc/passwd"), ("", None)],
)
def test_a_script_is_read_as_it_stands_and_checked_as_on_any_page(script: str, read: str | None) -> None:
    assert swan.chosen({**SENT, "scriptenv": [script]}, SESSIONS).get("script") == read


def test_where_there_is_no_choice_nothing_is_chosen() -> None:
    assert swan.chosen(SENT, SMALLEST) == {"release": "stable"}


FORGED: list[dict[str, list[Any]]] = [
    {"software_source": ["customenv"]},
    {"software_source": [""]},
    {"software_source": [{"filename": "x"}]},
    {"lcg": ["LCG_999"]},
    {"lcg": [""]},
    {"lcg": []},
    {"lcg": ["lcg-debug"]},
    {"lcg": ["lcg"]},
    {"lcg": ["lcg"], "platforms": ["x86_64-el9-gcc13-dbg/../../../../etc"]},
    {"platforms": ["x86_64-el9-gcc13-opt"]},
    {"cores": ["64"]},
    {"cores": ["-1"]},
    {"cores": ["8"]},
    {"cores": ["8"], "memory": ["4"]},
    {"memory": ["16"]},
    {"memory": ["4G"]},
    {"gpu": ["v100"]},
    {"gpu": ["t4"]},
    {"gpu": [""]},
    {"clusters": ["analytix"]},
    {"clusters": [""]},
    {"condor": ["share"]},
    {"rucio": ["ATLAS"]},
    {"file": ["/etc/passwd"]},
    {"repository": ["https://example.org/x"]},
    {"use-jupyterlab": ["yes"]},
    {"use-local-packages": ["checked"]},
    {"use-tn": ["on"]},
    {"image": ["registry.example/mine"]},
    {"profile": ["large"]},
]


@pytest.mark.parametrize("forged", FORGED, ids=str)
def test_what_the_page_does_not_offer_is_refused_in_words(forged: dict[str, list[Any]]) -> None:
    with pytest.raises(HTTPError) as refused:
        swan.chosen({**SENT, **forged}, SESSIONS)
    assert refused.value.status_code == 400
    assert "there is no" in str(refused.value.log_message)


@pytest.mark.parametrize("forged", [{"scriptenv": ["~/a.sh"]}, {"use-jupyterlab": ["checked"]}, {"clusters": ["here"]}])
def test_what_a_stack_does_not_offer_is_refused(forged: dict[str, list[str]]) -> None:
    with pytest.raises(HTTPError):
        swan.chosen({**SENT, **forged}, SMALLEST)


def test_what_is_for_a_group_is_neither_shown_nor_taken_from_others() -> None:
    read = choices(SESSIONS)["options_from_form"]
    large = {**SENT, "cores": ["8"], "memory": ["16"]}
    assert read(large, Someone("staff"))["profile"] == "large"
    with pytest.raises(HTTPError, match="there is no profile with cores 8, memory 16, gpu none here; choose one of"):
        read(large, Someone("guests"))
    told = swan.page(open_to(Someone("guests"), SESSIONS))["config"]["lcg_options"][0]
    assert [one["value"] for one in told["cores"]] == ["2"]


def test_a_link_fills_the_form_in_and_starts_nothing() -> None:
    read = choices(SESSIONS)["options_from_form"]
    with pytest.raises(HTTPError, match="starts nothing by itself"):
        read(SENT)
    assert read({"release": ["stable"]}) == {"release": "stable"}, "links of this hub start what they name"


def test_what_our_own_buttons_send_is_read_on_either_page() -> None:
    again = {"profile": ["large"], "release": ["stable"], "script": [""]}
    read = choices(SESSIONS)["options_from_form"](again, Someone())
    assert read == {"profile": "large", "release": "stable", "script": ""}


def test_the_page_is_told_what_there_is() -> None:
    told = swan.page(SESSIONS)["config"]
    stable, lcg = told["lcg_options"]
    assert stable["lcg"] == {"value": "stable", "text": "Stable, ROOT </script>"}
    assert [one["value"] for one in lcg["platforms"]] == ["x86_64-el9-gcc13-opt", "x86_64-el9-gcc13-dbg"]
    assert {name: [one["text"] for one in lcg[name]] for name in ("cores", "memory", "gpu", "clusters")} == {
        "cores": ["2", "8"], "memory": ["4 GiB", "16 GiB"], "gpu": ["None", "t4", "2 x t4"],
        "clusters": ["None", "Here"],
    }  # fmt: skip
    assert {"condorSection", "extra_options_config", "localPackagesSection"} == {*told["hidden_sections"]}
    assert {"gpuSection", "platformSection", "scriptenvSection", "clusterSection", "interfaceSection"} < {
        *swan.page(SMALLEST)["config"]["hidden_sections"]
    }


def test_pages_are_ours_unless_a_stack_says_otherwise() -> None:
    plain = SESSIONS.model_copy(update={"page": "plain"})
    assert len(template_paths(plain)) == 1
    assert choices(plain)["options_from_form"] == "simple"
    assert swan.FOLDER in template_paths(SESSIONS)


def test_sizes_that_swan_cannot_tell_apart_are_refused() -> None:
    large = {"title": "Large", "cores": 4, "memory_gib": 8}
    HubConfig.model_validate({"page": "swan", "sizes": {"large": large}})
    for sizes, said in (
        ({"large": large, "course": {**large, "tmp_gib": 1}}, "sizes.course is as large on the page swan"),
        ({"other": {**large, "cores": 2, "memory_gib": 2}}, "sizes.other is as standard on the page swan"),
    ):
        HubConfig.model_validate({"sizes": sizes})
        with pytest.raises(ValueError, match=said):
            HubConfig.model_validate({"page": "swan", "sizes": sizes})
    gpus = {"one": {**large, "gpu": {"model": "t4"}}, "two": {**large, "gpu": {"model": "t4", "count": 2}}}
    HubConfig.model_validate({"page": "swan", "sizes": {"large": large, **gpus}})
