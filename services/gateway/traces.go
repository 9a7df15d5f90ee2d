package main

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/zipkin"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// flush is the time that the last spans get to be sent.
const flush = time.Second

// tracing is what the standard variables of OpenTelemetry say.
type tracing struct {
	exporter, serviceName        string
	otlpEndpoint, zipkinEndpoint string
	sampler                      sdktrace.Sampler
}

func (e *environment) tracing() tracing {
	// By their standard, an empty value is none.
	standard := environment{lookup: func(name string) (string, bool) {
		value, _ := e.lookup(name)
		return value, value != ""
	}}
	t := tracing{
		exporter:       standard.oneOf("OTEL_TRACES_EXPORTER", "none", "otlp", "zipkin", "none"),
		serviceName:    standard.text("OTEL_SERVICE_NAME", "gateway"),
		otlpEndpoint:   standard.url("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4317"),
		zipkinEndpoint: standard.url("OTEL_EXPORTER_ZIPKIN_ENDPOINT", "http://localhost:9411/api/v2/spans"),
		sampler:        standard.sampler(),
	}
	e.mistakes = append(e.mistakes, standard.mistakes...)
	return t
}

// url takes one without a user: it stands in log lines.
func (e *environment) url(name, byDefault string) string {
	value := e.text(name, byDefault)
	switch u, err := url.Parse(value); {
	case err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "":
		e.mistake(name, value, "must be a URL such as %s", byDefault)
	case u.User != nil:
		e.mistake(name, u.Redacted(), "must be a URL such as %s, without a user", byDefault)
	}
	return value
}

func (e *environment) sampler() sdktrace.Sampler {
	const byDefault, ofParent, byRatio = "parentbased_always_on", "parentbased_", "traceidratio"
	roots := map[string]sdktrace.Sampler{
		"always_on": sdktrace.AlwaysSample(), "always_off": sdktrace.NeverSample(), byRatio: nil,
	}
	var names []string
	for _, root := range slices.Sorted(maps.Keys(roots)) {
		names = append(names, root, ofParent+root)
	}
	name, isOfParent := strings.CutPrefix(e.oneOf("OTEL_TRACES_SAMPLER", byDefault, names...), ofParent)
	root := roots[name]
	if name == byRatio {
		root = sdktrace.TraceIDRatioBased(e.ratio("OTEL_TRACES_SAMPLER_ARG"))
	}
	if isOfParent {
		return sdktrace.ParentBased(root)
	}
	return root
}

func (e *environment) ratio(name string) float64 {
	value := e.text(name, "1")
	ratio, err := strconv.ParseFloat(value, 64)
	if err != nil || !(ratio >= 0 && ratio <= 1) {
		e.mistake(name, value, "must be a number from 0 to 1")
	}
	return ratio
}

func (t tracing) newExporter() (sdktrace.SpanExporter, error) {
	switch t.exporter {
	case "otlp":
		return otlptracegrpc.New(context.Background(), otlptracegrpc.WithEndpointURL(t.otlpEndpoint))
	case "zipkin":
		return zipkin.New(t.zipkinEndpoint)
	}
	return nil, nil
}

// traces makes the spans of requests and of calls. Without one, which is nil,
// there are none, and what callers send goes through.
type traces struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
}

func newTraces(t tracing, log *slog.Logger) (*traces, error) {
	exporter, err := t.newExporter()
	if err != nil {
		return nil, fmt.Errorf("OTEL_TRACES_EXPORTER=%q: %w", t.exporter, err)
	}
	if exporter == nil {
		return nil, nil
	}
	otel.SetErrorHandler(&seldom{log: log})
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(exporter),
		sdktrace.WithSampler(t.sampler),
		sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", t.serviceName))),
	)
	return &traces{provider, provider.Tracer("marketplace/services/gateway")}, nil
}

// begin gives the span of a request; without traces, and of a look at the health, that of the caller.
func (t *traces) begin(r *http.Request) (context.Context, trace.Span) {
	ctx := withCaller(r)
	if t == nil || r.URL.Path == healthPath {
		return ctx, trace.SpanFromContext(ctx)
	}
	return t.tracer.Start(ctx, boundedMethod(r), trace.WithSpanKind(trace.SpanKindServer))
}

// end says of a request what no caller can choose.
func end(span trace.Span, method, route string, httpStatus int) {
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(
		attribute.String("http.request.method", method), attribute.Int("http.response.status_code", httpStatus),
	)
	if route != unknownRoute {
		span.SetName(method + " " + route)
		span.SetAttributes(attribute.String("http.route", route))
	}
	if httpStatus >= http.StatusInternalServerError {
		span.SetStatus(codes.Error, "")
	}
	span.End()
}

// withCaller reads the W3C trace context of the caller.
func withCaller(r *http.Request) context.Context {
	parent := r.Header["Traceparent"]
	if len(parent) != 1 {
		return r.Context()
	}
	state := strings.Join(r.Header["Tracestate"], ",")
	return propagation.TraceContext{}.Extract(r.Context(), propagation.MapCarrier{"traceparent": parent[0], "tracestate": state})
}

// call makes the span of a call, which the service gets as its parent.
func (t *traces) call(
	ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption,
) error {
	if t == nil || isHealth(method) {
		return call(ctx, method, req, reply, cc, opts...)
	}
	service, rpc := namesOf(method)
	ctx, span := t.tracer.Start(ctx, service+"/"+rpc, trace.WithSpanKind(trace.SpanKindClient))
	defer span.End()
	sent, _ := metadata.FromOutgoingContext(ctx)
	sent.Delete("tracestate")
	propagation.TraceContext{}.Inject(ctx, carrier(sent))
	err := call(metadata.NewOutgoingContext(ctx, sent), method, req, reply, cc, opts...)
	if span.IsRecording() {
		span.SetAttributes(
			attribute.String("rpc.system", "grpc"), attribute.String("rpc.service", service), attribute.String("rpc.method", rpc),
			attribute.Int("rpc.grpc.status_code", int(status.Code(err))),
		)
		if err != nil {
			span.SetStatus(codes.Error, "")
		}
	}
	return err
}

// stop sends the spans that are left, if it does not take long.
func (t *traces) stop(ctx context.Context) {
	if t == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, flush)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		otel.Handle(err)
	}
}

// carrier is metadata for a propagator.
type carrier metadata.MD

func (c carrier) Get(key string) string { return strings.Join(metadata.MD(c).Get(key), ",") }
func (c carrier) Set(key, value string) { metadata.MD(c).Set(key, value) }
func (c carrier) Keys() []string        { return slices.Collect(maps.Keys(c)) }

// seldom logs what is wrong with the sending of spans, at most once a minute.
type seldom struct {
	log  *slog.Logger
	mu   sync.Mutex
	next time.Time
}

func (s *seldom) Handle(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); !now.Before(s.next) {
		s.next = now.Add(time.Minute)
		s.log.Warn("traces are not sent", "error", err.Error())
	}
}
