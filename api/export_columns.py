"""What stands in an export, column by column (contract http.md 8.2): field and heading."""

HEADINGS = {
    "app_id": "Application ID",
    "portal": "Portal",
    "title": "Job Title",
    "company_name": "Company",
    "location": "Location",
    "status": "Status",
    "created_at": "Created At",
    "applied_at": "Applied At",
    "error_reason": "Error Reason",
}
STATUS = list(HEADINGS).index("status")  # `success` or `failed`
