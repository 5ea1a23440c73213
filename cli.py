"""Run the command from a checkout: ``python cli.py extract --help``."""

from fusion_pipeline.commands import main

if __name__ == "__main__":
    main()
