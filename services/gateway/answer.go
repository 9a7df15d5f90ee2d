package main

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strconv"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/protoadapt"
)

func withDetail(code codes.Code, message string, detail protoadapt.MessageV1) *status.Status {
	s, err := status.New(code, message).WithDetails(detail)
	if err != nil {
		panic(err) // only for OK and for what is no proto message
	}
	return s
}

// writeError is the one place that writes errors: a google.rpc.Status, whoever
// found the fault.
func writeError(w http.ResponseWriter, httpStatus int, s *status.Status) {
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Cache-Control", "no-store")
	if httpStatus == http.StatusUnauthorized {
		header.Set("WWW-Authenticate", "Bearer")
	}
	for _, detail := range s.Details() {
		if retry, ok := detail.(*errdetails.RetryInfo); ok {
			header.Set("Retry-After", strconv.Itoa(int(math.Ceil(retry.GetRetryDelay().AsDuration().Seconds()))))
		}
	}
	body, err := protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(s.Proto())
	if err != nil { // a detail of a type that is not linked in: the rest still says enough
		body, _ = json.Marshal(map[string]any{"code": s.Code(), "message": s.Message(), "details": []any{}})
	}
	body = compact(body)
	header.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(httpStatus)
	_, _ = w.Write(body)
}

// refuse answers what has an HTTP status of its own, which no gRPC code means.
func refuse(w http.ResponseWriter, httpStatus int, code codes.Code, format string, args ...any) {
	writeError(w, httpStatus, status.New(code, fmt.Sprintf(format, args...)))
}
