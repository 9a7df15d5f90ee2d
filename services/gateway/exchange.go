package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"strings"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/metadata"
)

// exchange is what the parts of the gateway tell each other about one request.
type exchange struct {
	requestID string
	span      trace.SpanContext // of the gateway; without traces, of the caller
	route     string            // the template, for the log
	metadata  metadata.MD       // all that the service gets to see besides the message
	fault     string            // what the caller does not get to read, for the log
}

type exchangeKey struct{}

// exchangeOf gives an empty exchange where there is none, as for the gateway's
// own calls.
func exchangeOf(ctx context.Context) *exchange {
	if x, ok := ctx.Value(exchangeKey{}).(*exchange); ok {
		return x
	}
	return &exchange{}
}

// requestID takes the caller's id if it is one that can stand in any log, and
// else makes one.
func requestID(header http.Header) string {
	const allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-"
	if given := header["X-Request-Id"]; len(given) == 1 && given[0] != "" && len(given[0]) <= 128 &&
		strings.Trim(given[0], allowed) == "" {
		return given[0]
	}
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	return hex.EncodeToString(id[:])
}
