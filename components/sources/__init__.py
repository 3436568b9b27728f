"""Where machines come from: `local` makes them on this host, `existing` takes what is there already."""
