package main

import (
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// These keep the answer short, whatever a body is made of.
const (
	maxViolations = 50
	maxFieldName  = 200
)

// violations are the rules of the edge that a request breaks, in the shape in
// which the services name theirs.
type violations []*errdetails.BadRequest_FieldViolation

// add notes that a field, or with "" the request as a whole, breaks a rule.
func (v *violations) add(field, rule, description string) {
	if len(field) > maxFieldName { // a name as it was sent
		field = strings.ToValidUTF8(field[:maxFieldName], "") + "..."
	}
	if len(*v) < maxViolations {
		*v = append(*v, &errdetails.BadRequest_FieldViolation{Field: field, Description: description, Reason: rule})
	}
}

func (v violations) status() *status.Status {
	message := v[0].GetDescription()
	if field := v[0].GetField(); field != "" {
		message = field + ": " + message
	}
	return withDetail(codes.InvalidArgument, message, &errdetails.BadRequest{FieldViolations: v})
}
