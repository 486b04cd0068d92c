"""`python -m api.cli`: the same as `app-manager`, for processes that are started by their interpreter."""

from api.cli.main import main

if __name__ == "__main__":
    main()
