"""The admin API: `/api/v1` on the admin listener. One table of operations gives the routes and the OpenAPI document."""
