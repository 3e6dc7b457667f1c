"""Starts moto's server with the patches that belong into its process. Started by `up`; arguments are moto_server's."""

import sys

from moto.server import main

from patches import profile_filter, shutdown_behavior, snapshot_sharing

if __name__ == "__main__":
    profile_filter.apply()
    shutdown_behavior.apply()
    snapshot_sharing.apply()
    sys.exit(main())
