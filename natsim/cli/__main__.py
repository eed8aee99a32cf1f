"""`python -m natsim.cli` is the command `natsim`."""

import sys

from natsim.cli.main import main

sys.exit(main())
