"""The rule on links that open without sign-in: they are for reading, hard to guess, and end.

copyparty lets its users choose all this, and has no upper bounds of its own. Its database has: a trigger keeps the rule
whatever page, script or later version of copyparty writes there.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

KEY_CHARACTERS = 12  # as many as copyparty proposes; 70 bits
_DAY_SECONDS = 86_400

# Of copyparty's table `sh`: k is the key in the link, pr the permissions, t0 and t1 (0: never) its begin and end in
# seconds.
_RULE = """
drop trigger if exists link_made;
drop trigger if exists link_ends;
drop trigger if exists link_prolonged;
create trigger link_made before insert on sh
when length(new.k) < {characters} or new.pr not in ('r', 'r.', 'rg', 'rg.')
begin
    select raise(abort, 'a link is for reading, and its name has {characters} characters or more');
end;
create trigger link_ends after insert on sh when new.t1 = 0 or new.t1 > new.t0 + {seconds}
begin
    update sh set t1 = new.t0 + {seconds} where k = new.k;
end;
create trigger link_prolonged after update of t1 on sh when new.t1 = 0 or new.t1 > new.t0 + {seconds}
begin
    update sh set t1 = new.t0 + {seconds} where k = new.k;
end;
update sh set t1 = t0 + {seconds} where t1 = 0 or t1 > t0 + {seconds};
"""


def limit(database: Path, days: int) -> None:
    """Keeps links in copyparty's database to the rule, those that are there already too.

    Raises:
        sqlite3.OperationalError: This is no database of copyparty's links.
    """
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=rw", uri=True)) as opened:
        opened.executescript(_RULE.format(characters=KEY_CHARACTERS, seconds=days * _DAY_SECONDS))
