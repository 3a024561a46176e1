"""`python -m visual_summaries <verb>`: the console script, from a checkout or an environment."""

from visual_summaries.jobs.command import main

if __name__ == "__main__":
    raise SystemExit(main())
