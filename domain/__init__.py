"""The rules. Every module that defines events is imported here, so that whoever reads the log knows them all."""

from domain import application as application
from domain import batch as batch
from domain import idempotency as idempotency
from domain import rejected_message as rejected_message
