# Login shells start with a PATH of their own; this is start-session's.
PATH="$PATH:$HOME/.local/bin"
