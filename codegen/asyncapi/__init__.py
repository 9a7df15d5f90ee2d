"""protoc-gen-asyncapi: one AsyncAPI 3.0 document of all events, with every rule of the contract."""
