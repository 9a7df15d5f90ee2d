package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"google.golang.org/grpc/codes"
)

// recorder remembers the status of the answer.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// observed gives every request an id and a line in the log. The line has the
// template of the route and not the URL, which may hold anything.
func observed(log *slog.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		x := &exchange{requestID: requestID(r.Header), route: "unknown"}
		w.Header().Set("X-Request-Id", x.requestID)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		rec := &recorder{ResponseWriter: w}
		defer func() {
			if fault := recover(); fault != nil {
				x.fault = fmt.Sprintf("%v\n%s", fault, debug.Stack())
				if rec.status == 0 {
					refuse(rec, http.StatusInternalServerError, codes.Internal, "internal error")
				}
			}
			x.log(log, r, rec.status, time.Since(start))
		}()
		next.ServeHTTP(rec, r.WithContext(context.WithValue(r.Context(), exchangeKey{}, x)))
	})
}

func (x *exchange) log(log *slog.Logger, r *http.Request, status int, took time.Duration) {
	level := slog.LevelInfo
	if status >= 500 {
		level = slog.LevelError
	}
	attributes := []slog.Attr{
		slog.String("method", r.Method),
		slog.String("route", x.route),
		slog.Int("status", status),
		slog.Float64("duration_ms", float64(took.Microseconds())/1000),
		slog.String("request_id", x.requestID),
	}
	if x.fault != "" {
		attributes = append(attributes, slog.String("error", x.fault))
	}
	log.LogAttrs(context.WithoutCancel(r.Context()), level, "request", attributes...)
}
