"""protoc-gen-openapi: one OpenAPI 3.1 document of all services, with every rule of the contract."""
