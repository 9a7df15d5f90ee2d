package main

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
)

var buckets = []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10}

// metrics are what operators can count. No label has a value that a caller can
// choose.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.HistogramVec
	active   prometheus.Gauge
	calls    *prometheus.HistogramVec
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "http_server_request_duration_seconds", Help: "How long requests took.", Buckets: buckets,
		}, []string{"http_request_method", "http_route", "http_response_status_code"}),
		active: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "http_server_active_requests", Help: "Requests that are being answered.",
		}),
		calls: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "rpc_client_duration_seconds", Help: "How long calls of services took.", Buckets: buckets,
		}, []string{"rpc_service", "rpc_method", "rpc_code"}),
	}
	m.registry.MustRegister(m.requests, m.active, m.calls,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// page shows them to Prometheus.
func (m *metrics) page() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

func (m *metrics) request(method, route string, httpStatus int, took time.Duration) {
	m.requests.WithLabelValues(method, route, strconv.Itoa(httpStatus)).Observe(took.Seconds())
}

// call measures the calls of services.
func (m *metrics) call(
	ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption,
) error {
	if isHealth(method) {
		return call(ctx, method, req, reply, cc, opts...)
	}
	start := time.Now()
	err := call(ctx, method, req, reply, cc, opts...)
	service, rpc := namesOf(method)
	m.calls.WithLabelValues(service, rpc, code.Code(status.Code(err)).String()).Observe(time.Since(start).Seconds())
	return err
}

func isHealth(method string) bool { return strings.HasPrefix(method, "/grpc.health.") }

// namesOf gives the short names of a service and its RPC: CartService, ItemAdd.
func namesOf(method string) (service, rpc string) {
	full, rpc, _ := strings.Cut(method[1:], "/")
	return full[strings.LastIndexByte(full, '.')+1:], rpc
}

var knownMethods = []string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
	http.MethodConnect, http.MethodOptions, http.MethodTrace,
}

// boundedMethod is the method of a request where only few values may be.
func boundedMethod(r *http.Request) string {
	if slices.Contains(knownMethods, r.Method) {
		return r.Method
	}
	return "_OTHER"
}
