package main

import (
	"net/http"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
)

const (
	// maxHeaders is what a request may bring in headers.
	maxHeaders = 16 << 10
	// maxForwarded is less than gRPC servers take as metadata by default, 8 KiB.
	maxForwarded = 6 << 10
)

// readHeaders puts the headers that services may see, and no others, into the
// metadata of the call.
func readHeaders(header http.Header, x *exchange) *refusal {
	if sizeOf(header) > maxHeaders {
		return refuseWith(http.StatusRequestHeaderFieldsTooLarge, codes.ResourceExhausted, "the headers are larger than 16 KiB")
	}
	x.metadata = metadata.MD{"x-request-id": {x.requestID}}
	if given := header["Authorization"]; len(given) > 0 {
		// Two of them, or one that no metadata can hold, are not worth a guess.
		if len(given) > 1 || !isPrintable(given[0]) {
			return refuseWith(http.StatusUnauthorized, codes.Unauthenticated, "the header Authorization must be given once, in printable ASCII")
		}
		x.metadata["authorization"] = given
	}
	if given := header["Idempotency-Key"]; len(given) > 0 {
		if len(given) > 1 || !isPrintable(given[0]) {
			var found violations
			found.add("Idempotency-Key", "header.syntax", "must be given once, in printable ASCII")
			return badRequest(found)
		}
		x.metadata["idempotency-key"] = given
	}
	// A trace that cannot be read is no reason to refuse the call. By its
	// standard, state without a parent says nothing.
	if parent := header["Traceparent"]; len(parent) == 1 && isPrintable(parent[0]) {
		x.metadata["traceparent"] = parent
		if state := strings.Join(header["Tracestate"], ","); state != "" && isPrintable(state) {
			x.metadata["tracestate"] = []string{state}
		}
	}
	forwarded := 0
	for name, values := range x.metadata {
		forwarded += len(name) + len(values[0])
	}
	if forwarded > maxForwarded {
		return refuseWith(http.StatusRequestHeaderFieldsTooLarge, codes.ResourceExhausted,
			"the headers for the service are larger than 6 KiB")
	}
	return nil
}

func sizeOf(header http.Header) int {
	size := 0
	for name, values := range header {
		for _, value := range values {
			size += len(name) + len(value) + len(": \r\n")
		}
	}
	return size
}

// isPrintable tells whether gRPC takes it as the text of metadata.
func isPrintable(text string) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}
