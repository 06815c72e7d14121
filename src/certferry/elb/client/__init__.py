"""The async client of the ELB v3 API and of its Certferry extensions."""
