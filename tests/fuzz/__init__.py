"""The API against its own OpenAPI document, by schemathesis: every answer is one that the document tells.

`make fuzz` sends 20,000 requests and more, made of the document in four ways (its examples, every boundary that a
schema has, random ones, and chains of calls in which one answers what the next asks with), to real processes on real
stores. Half of all is what no schema allows. A short form of it is a test (`tests/component/test_fuzz.py`).
"""
