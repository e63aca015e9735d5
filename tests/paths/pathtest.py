# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the tests over several paths share. Arguments of a test program: PATH/nvmf-target and the
folder of the other tools."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
from clitest import DEADLINE, NQN, TOOLS, eq, main, test, tool, until  # noqa: E402,F401
