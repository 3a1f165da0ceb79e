"""torchrun without its reports on processes that fail or are stopped: they say themselves in one line what is wrong.

python tools/film/programs/torchrun.py --standalone --nproc-per-node 2 train/main.py ...
"""

import logging
import sys

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main


def launch() -> int:
    """Run torchrun with the words of the command line; the status of the process that failed first, 0 where none did.

    SIGTERM reaches all processes. They then write a checkpoint, for which torchrun waits half a minute.
    """
    logging.disable(logging.CRITICAL)
    try:
        main()
    except ChildFailedError as error:
        status = error.get_first_failure()[1].exitcode
        return status if status >= 0 else 128 - status
    except SignalException as error:
        return 128 + error.sigval
    return 0


if __name__ == "__main__":
    sys.exit(launch())
