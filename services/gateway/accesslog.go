package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"go.opentelemetry.io/otel/trace"
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

const unknownRoute = "unknown"

// observer is who hears of every request.
type observer struct {
	log     *slog.Logger
	metrics *metrics
	traces  *traces
}

// observed gives every request an id, a span and a line in the log. The line has
// the template of the route and not the URL, which may hold anything.
func (o observer) observed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		o.metrics.active.Inc()
		ctx, span := o.traces.begin(r)
		x := &exchange{requestID: requestID(r.Header), route: unknownRoute, span: span.SpanContext()}
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
			o.end(x, r, span, rec.status, time.Since(start))
		}()
		next.ServeHTTP(rec, r.WithContext(context.WithValue(ctx, exchangeKey{}, x)))
	})
}

func (o observer) end(x *exchange, r *http.Request, span trace.Span, status int, took time.Duration) {
	method := boundedMethod(r)
	end(span, method, x.route, status)
	o.metrics.active.Dec()
	o.metrics.request(method, x.route, status, took)
	x.log(o.log, r, status, took)
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
	if x.span.IsValid() {
		attributes = append(attributes, slog.String("trace_id", x.span.TraceID().String()))
	}
	if x.span.IsValid() && !x.span.IsRemote() {
		attributes = append(attributes, slog.String("span_id", x.span.SpanID().String()))
	}
	if x.fault != "" {
		attributes = append(attributes, slog.String("error", x.fault))
	}
	log.LogAttrs(context.WithoutCancel(r.Context()), level, "request", attributes...)
}
