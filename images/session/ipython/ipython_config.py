"""What every Python kernel and IPython prompt of a session begins with."""

c = get_config()  # noqa: F821 - IPython gives it
c.InteractiveShellApp.extensions = ["cygnet_session.completion"]
