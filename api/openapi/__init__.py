"""The OpenAPI document: made from the operations that answer, and from nothing else (contract http.md 16)."""
