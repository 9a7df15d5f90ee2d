package main

import (
	"context"
	"net/http"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// unsaid are the codes that the transport makes up itself, with texts that hold
// addresses and worse, and what the caller reads instead. Services say more in
// google.rpc details, which the transport never has.
var unsaid = map[codes.Code]string{
	codes.Canceled:          "the call was cancelled",
	codes.Unknown:           "internal error",
	codes.DeadlineExceeded:  "the deadline of the call passed",
	codes.ResourceExhausted: "resource exhausted",
	codes.Unimplemented:     "the service does not implement this",
	codes.Internal:          "internal error",
	codes.Unavailable:       "service unavailable",
	codes.DataLoss:          "internal error",
}

// cleaned is the error as the caller may see it.
func cleaned(ctx context.Context, err error) *status.Status {
	s := status.Convert(err)
	if len(s.Proto().GetDetails()) > 0 && s.Code() != codes.Unknown {
		return s
	}
	text, replaced := unsaid[s.Code()]
	switch {
	case s.Code() == codes.Canceled && ctx.Err() == nil: // a server that stops, or has too much to do, says it (grpc/grpc issue 41785)
		return status.New(codes.Unavailable, unsaid[codes.Unavailable])
	case s.Code() == codes.Unknown: // no service of ours says it
		return status.New(codes.Internal, text)
	case s.Code() == codes.InvalidArgument: // the parsers of grpc-gateway
		var v violations
		v.add("", "request.invalid", s.Message())
		return v.status()
	case replaced:
		return status.New(s.Code(), text)
	}
	return s
}

// handleError answers the errors of calls.
func (c *contract) handleError(
	ctx context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, _ *http.Request, err error,
) {
	s := cleaned(ctx, err)
	if said := status.Convert(err); said.Message() != s.Message() {
		exchangeOf(ctx).fault = said.Message()
	}
	c.write(w, s)
}

// write answers an error with the HTTP status that its code means.
func (c *contract) write(w http.ResponseWriter, s *status.Status) {
	httpStatus, known := c.statuses[uint32(s.Code())]
	if !known || httpStatus == 0 {
		httpStatus = http.StatusInternalServerError
	}
	writeError(w, httpStatus, s)
}

// handleRoutingError is for requests that pass the edge and that grpc-gateway
// then knows no handler for: there should be none.
func handleRoutingError(
	_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, _ *http.Request, httpStatus int,
) {
	refuse(w, httpStatus, codes.NotFound, "%s", strings.ToLower(http.StatusText(httpStatus)))
}

func reused() error {
	return withDetail(codes.Aborted, "the field request_id and the header Idempotency-Key differ",
		&errdetails.ErrorInfo{Reason: "REQUEST_ID_REUSED", Domain: "marketplace"}).Err()
}
