"""The policy that the contract gives each RPC: checked, shown as a table, and described in the OpenAPI document."""
