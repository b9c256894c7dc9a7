"""SimpleITK on one thread: sums that several share depend on their number, and on which finishes first."""

import SimpleITK

WORK_UNITS = 1


def use_one_thread() -> None:
    """Let filters that start from now on, and those that they start themselves, compute on one thread.

    SimpleITK keeps this number for the whole process; it stays, since scans are placed by several threads of ours.
    """
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(WORK_UNITS)
