"""The whole service as its users have it: real processes, real servers, HTTP from outside."""
