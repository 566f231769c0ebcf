"""Reports of a stored run: for the terminal, as one HTML page, as JSON, as pandas frames. All of them work offline."""
