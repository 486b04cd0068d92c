"""The read models: what each event of the log changes in them, and what builds, checks and reads them."""
