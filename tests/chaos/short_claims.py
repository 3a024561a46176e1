"""The job `summarize`, whose claims on a bucket end in seconds where others last a minute."""

import sys

from visual_summaries.jobs.summarize import main
from visual_summaries.pipeline.store.lease import Lease

RENEW_SECONDS, LEASE_SECONDS = 1.0, 6.0

if __name__ == "__main__":
    Lease.__init__.__defaults__ = (RENEW_SECONDS, LEASE_SECONDS)
    sys.exit(main())
