"""The commands that talk to the service over HTTP alone (contract cli.md 4), with the client's own settings (2).

They import nothing of the service: a command that lists applications needs no driver of a database.
"""
