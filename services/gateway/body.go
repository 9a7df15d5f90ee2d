package main

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const maxBody = 1 << 20

// refusal is an answer of the edge. No refusal is nil.
type refusal struct {
	httpStatus int
	status     *status.Status
}

func refuseWith(httpStatus int, code codes.Code, message string) *refusal {
	return &refusal{httpStatus, status.New(code, message)}
}

func badRequest(found violations) *refusal {
	return &refusal{http.StatusBadRequest, found.status()}
}

var tooMuch = refuseWith(http.StatusRequestEntityTooLarge, codes.ResourceExhausted, "the body is larger than 1 MiB")

// readBody reads the body of a request whose route declares one.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, *refusal) {
	if r.ContentLength > maxBody {
		return nil, tooMuch
	}
	if !isJSON(r.Header) && (r.ContentLength != 0 || len(r.Header["Content-Type"]) > 0) {
		return nil, refuseWith(http.StatusUnsupportedMediaType, codes.InvalidArgument,
			"the body must be application/json in UTF-8, without compression")
	}
	var text bytes.Buffer
	// No more than this is reserved for what a caller only announces.
	text.Grow(int(min(max(r.ContentLength, 0)+bytes.MinRead, 16<<10)))
	_, err := text.ReadFrom(http.MaxBytesReader(w, r.Body, maxBody))
	return text.Bytes(), unreadable(err)
}

// refuseBody refuses a body where the route declares none: a caller who sends
// one expects that it does something.
func refuseBody(r *http.Request, found *violations) *refusal {
	if r.ContentLength > maxBody {
		return tooMuch
	}
	if r.ContentLength == 0 {
		return nil
	}
	n, err := io.ReadFull(r.Body, make([]byte, 1))
	if n > 0 {
		found.add("", "body.unexpected", "the body must be empty: this call takes none")
		return nil
	}
	if err == io.EOF {
		return nil
	}
	return unreadable(err)
}

func unreadable(err error) *refusal {
	var large *http.MaxBytesError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &large):
		return tooMuch
	case errors.Is(err, os.ErrDeadlineExceeded):
		return refuseWith(http.StatusRequestTimeout, codes.DeadlineExceeded, "the body did not come in time")
	}
	var found violations
	found.add("", "body.incomplete", "the body is incomplete or badly framed")
	return badRequest(found)
}

func isJSON(header http.Header) bool {
	types := header["Content-Type"]
	if len(types) != 1 || len(header["Content-Encoding"]) > 0 {
		return false
	}
	if types[0] == "application/json" {
		return true
	}
	mediaType, parameters, err := mime.ParseMediaType(types[0])
	charset, given := parameters["charset"]
	return err == nil && mediaType == "application/json" && (!given || strings.EqualFold(charset, "utf-8"))
}
