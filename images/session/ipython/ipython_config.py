"""What every Python kernel and IPython prompt of a session begins with."""

import os

c = get_config()  # noqa: F821 - IPython gives it
c.InteractiveShellApp.extensions = ["cygnet_session.completion"]
if os.environ.get("CYGNET_CLUSTER"):
    # It comes with Spark, beside the release.
    c.InteractiveShellApp.extensions.append("cygnet_spark")
