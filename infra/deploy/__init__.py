"""The files that deploy the service, and what makes some of them. Not part of the package."""
