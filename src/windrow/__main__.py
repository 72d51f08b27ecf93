"""`python -m windrow` is `windrow`."""

from windrow.cli import main

if __name__ == "__main__":
    main()
