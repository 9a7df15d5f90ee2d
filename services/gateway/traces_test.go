package main

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
)

const (
	callersTrace = "0af7651916cd43dd8448eb211c80319c"
	callersSpan  = "b7ad6b7169203331"
	sampled      = "Traceparent: 00-" + callersTrace + "-" + callersSpan + "-01"
	notSampled   = "Traceparent: 00-" + callersTrace + "-" + callersSpan + "-00"
)

// span is one as Zipkin gets it, which writes all names in small letters.
type span struct {
	TraceID, ID, ParentID, Kind, Name string
	Tags                              map[string]string
	LocalEndpoint                     struct{ ServiceName string }
}

// zipkinServer remembers the spans that it gets.
type zipkinServer struct {
	url string

	mu     sync.Mutex
	answer int
	posts  int
	text   string
	spans  []span
}

func newZipkinServer(t testing.TB, answer int) *zipkinServer {
	t.Helper()
	z := &zipkinServer{answer: answer}
	server := httptest.NewServer(z)
	t.Cleanup(server.Close)
	z.url = server.URL + "/api/v2/spans"
	return z
}

func (z *zipkinServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	z.mu.Lock()
	defer z.mu.Unlock()
	var got []span
	if json.Unmarshal(body, &got) == nil {
		z.spans = append(z.spans, got...)
	}
	z.posts++
	z.text += string(body)
	w.WriteHeader(z.answer)
}

// got waits for the spans of a gateway, and gives them by their kind.
func (z *zipkinServer) got(t *testing.T, g *started, number int) map[string]span {
	t.Helper()
	eventually(t, func() bool {
		if err := g.traces.provider.ForceFlush(t.Context()); err != nil {
			t.Fatal(err)
		}
		z.mu.Lock()
		defer z.mu.Unlock()
		return len(z.spans) >= number
	})
	byKind := map[string]span{}
	for _, s := range z.spans {
		byKind[s.Kind] = s
	}
	if len(z.spans) != number {
		t.Fatal(z.spans)
	}
	return byKind
}

// withTraces sends spans there. The pairs are other variables of the standard.
func withTraces(t testing.TB, endpoint string, pairs ...string) func(*setup) {
	t.Helper()
	c, err := readConfig(environ(append(pairs, "OTEL_TRACES_EXPORTER=zipkin", "OTEL_EXPORTER_ZIPKIN_ENDPOINT="+endpoint)...))
	if err != nil {
		t.Fatal(err)
	}
	return func(s *setup) { s.tracing = c.tracing }
}

func TestARequestAndItsCallAreSpansThatSayNothingOfTheCaller(t *testing.T) {
	z := newZipkinServer(t, 202)
	g := start(t, newUpstream(t).address, withTraces(t, z.url))
	g.ask(t, "POST", "/user/987654321/cart/123456789", `{"count": 54321}`, "Authorization: Bearer s3cr3t", "X-Request-Id: r1r1r1")
	spans := z.got(t, g, 2)
	server, client := spans["SERVER"], spans["CLIENT"]
	if server.Name != "post /user/{user_id}/cart/{sku}" || server.Tags["http.request.method"] != "POST" ||
		server.Tags["http.route"] != "/user/{user_id}/cart/{sku}" || server.Tags["http.response.status_code"] != "200" ||
		server.ParentID != "" || server.LocalEndpoint.ServiceName != "gateway" {
		t.Errorf("%+v", server)
	}
	if client.Name != "cartservice/itemadd" || client.Tags["rpc.service"] != "CartService" || client.Tags["rpc.method"] != "ItemAdd" ||
		client.Tags["rpc.system"] != "grpc" || client.Tags["rpc.grpc.status_code"] != "0" ||
		client.TraceID != server.TraceID || client.ParentID != server.ID {
		t.Errorf("%+v", client)
	}
	if regexp.MustCompile(`987654321|123456789|54321[^0-9]|s3cr3t|r1r1r1|127\.0\.0\.1`).MatchString(z.text) {
		t.Error(z.text)
	}
}

func TestATraceOfACallerGoesOn(t *testing.T) {
	z := newZipkinServer(t, 202)
	u := newUpstream(t)
	g := start(t, u.address, withTraces(t, z.url))
	g.ask(t, "GET", "/stock/info?sku=1", "", sampled, "Tracestate: a=b", "Tracestate: c=d")
	spans := z.got(t, g, 2)
	server, client := spans["SERVER"], spans["CLIENT"]
	if server.TraceID != callersTrace || server.ParentID != callersSpan || client.TraceID != callersTrace || client.ParentID != server.ID {
		t.Errorf("%+v %+v", server, client)
	}
	if got := u.header["traceparent"]; !slices.Equal(got, []string{"00-" + callersTrace + "-" + client.ID + "-01"}) {
		t.Error(got)
	}
	if got := u.header["tracestate"]; !slices.Equal(got, []string{"a=b,c=d"}) {
		t.Error(got)
	}
	if line := g.log.String(); !strings.Contains(line, `"trace_id":"`+callersTrace+`","span_id":"`+server.ID+`"`) {
		t.Error(line)
	}
}

func TestATraceThatIsNotSampledGoesOnToo(t *testing.T) {
	z := newZipkinServer(t, 202)
	u := newUpstream(t)
	g := start(t, u.address, withTraces(t, z.url))
	g.ask(t, "GET", "/stock/info?sku=1", "", notSampled)
	got := u.header["traceparent"]
	if len(got) != 1 || !regexp.MustCompile(`^00-`+callersTrace+`-[0-9a-f]{16}-00$`).MatchString(got[0]) || strings.Contains(got[0], callersSpan) {
		t.Error(got)
	}
	g.ask(t, "GET", "/openapi.json", "") // its span is the only one
	z.got(t, g, 1)
}

func TestATraceThatCannotBeReadIsNotPassedOn(t *testing.T) {
	z := newZipkinServer(t, 202)
	u := newUpstream(t)
	g := start(t, u.address, withTraces(t, z.url))
	for _, headers := range [][]string{
		{"Traceparent: 00-1-2-01", "Tracestate: a=b"},
		{"Traceparent: 00-" + strings.Repeat("0", 32) + "-" + callersSpan + "-01", "Tracestate: a=b"},
		{sampled, sampled, "Tracestate: a=b"},
		{"Tracestate: a=b"},
	} {
		g.ask(t, "GET", "/stock/info?sku=1", "", headers...)
		got := u.header["traceparent"]
		if len(got) != 1 || !regexp.MustCompile(`^00-[0-9a-f]{32}-[0-9a-f]{16}-01$`).MatchString(got[0]) ||
			strings.Contains(got[0], callersTrace) || len(u.header["tracestate"]) != 0 {
			t.Error(headers, got, u.header["tracestate"])
		}
	}
}

func TestOnlyFaultsOfTheServersAreErrorsOfASpan(t *testing.T) {
	for code, want := range map[codes.Code]bool{codes.NotFound: false, codes.Unavailable: true} {
		z := newZipkinServer(t, 202)
		u := newUpstream(t)
		u.err = status.Error(code, "s3cr3t")
		g := start(t, u.address, withTraces(t, z.url))
		g.ask(t, "GET", "/stock/info?sku=1", "")
		spans := z.got(t, g, 2)
		if _, failed := spans["SERVER"].Tags["error"]; failed != want {
			t.Errorf("%s: %+v", code, spans["SERVER"])
		}
		if _, failed := spans["CLIENT"].Tags["error"]; !failed {
			t.Errorf("%s: %+v", code, spans["CLIENT"])
		}
		if strings.Contains(z.text, "s3cr3t") {
			t.Error(z.text)
		}
	}
}

func TestASpanWithoutARouteHasOnlyItsMethod(t *testing.T) {
	for method, want := range map[string]string{"GET": "GET", "S3CR3T": "_OTHER"} {
		z := newZipkinServer(t, 202)
		g := start(t, newUpstream(t).address, withTraces(t, z.url))
		g.ask(t, method, "/s3cr3t", "")
		server := z.got(t, g, 1)["SERVER"]
		if _, has := server.Tags["http.route"]; server.Name != strings.ToLower(want) || server.Tags["http.request.method"] != want || has {
			t.Errorf("%+v", server)
		}
		if strings.Contains(strings.ToLower(z.text), "s3cr3t") {
			t.Error(z.text)
		}
	}
}

func TestAskingForHealthMakesNoSpans(t *testing.T) {
	z := newZipkinServer(t, 202)
	g := start(t, newUpstream(t).address, withTraces(t, z.url))
	if got := g.ask(t, "GET", "/healthz", ""); got.StatusCode != 200 {
		t.Error(got.StatusCode, got.text)
	}
	g.ask(t, "GET", "/nowhere", "")
	if server := z.got(t, g, 1)["SERVER"]; server.Tags["http.response.status_code"] != "404" {
		t.Errorf("%+v", server)
	}
}

func TestWithoutAnExporterNoTraceBegins(t *testing.T) {
	u := newUpstream(t)
	g := start(t, u.address)
	g.ask(t, "GET", "/stock/info?sku=1", "")
	if got := u.header["traceparent"]; len(got) != 0 || g.traces != nil {
		t.Error(got)
	}
	g.ask(t, "GET", "/stock/info?sku=1", "", sampled, "Tracestate: a=b")
	if got := u.header["traceparent"]; !slices.Equal(got, []string{strings.TrimPrefix(sampled, "Traceparent: ")}) {
		t.Error(got)
	}
	eventually(t, func() bool { return strings.Count(g.log.String(), "\n") == 2 })
	lines := strings.Split(g.log.String(), "\n")
	if strings.Contains(lines[0], "trace_id") || !strings.Contains(lines[1], `"trace_id":"`+callersTrace+`"`) ||
		strings.Contains(lines[1], "span_id") {
		t.Error(lines)
	}
}

func TestTheRestOfTheSpansIsSentAtTheEnd(t *testing.T) {
	z := newZipkinServer(t, 202)
	r := runProgram(t, nil, "GATEWAY_LOMS_ADDRESS="+newUpstream(t).address, "OTEL_TRACES_EXPORTER=zipkin",
		"OTEL_EXPORTER_ZIPKIN_ENDPOINT="+z.url, "OTEL_SERVICE_NAME=front")
	r.listens(t)
	response, err := http.Get(r.url + "/stock/info?sku=1")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	r.stop()
	r.ends(t, 0)
	if len(z.spans) != 2 || z.spans[0].LocalEndpoint.ServiceName != "front" {
		t.Error(z.spans)
	}
}

// otlpServer remembers what it gets, as text.
type otlpServer struct {
	collector.UnimplementedTraceServiceServer
	mu   sync.Mutex
	text string
}

func (o *otlpServer) Export(_ context.Context, r *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text += prototext.MarshalOptions{}.Format(r)
	return &collector.ExportTraceServiceResponse{}, nil
}

func TestSpansCanBeSentByOTLP(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := &otlpServer{}
	server := grpc.NewServer()
	collector.RegisterTraceServiceServer(server, o)
	go func() { _ = server.Serve(listener) }()
	defer server.Stop()
	g := start(t, newUpstream(t).address, withTraces(t, "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER=otlp",
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://"+listener.Addr().String()))
	g.ask(t, "GET", "/stock/info?sku=1", "")
	eventually(t, func() bool {
		_ = g.traces.provider.ForceFlush(t.Context())
		o.mu.Lock()
		defer o.mu.Unlock()
		return strings.Contains(o.text, `"GET /stock/info"`) && strings.Contains(o.text, `"LomsService/StocksInfo"`)
	})
	if !regexp.MustCompile(`key:\s*"service.name"\s*value:\s*{\s*string_value:\s*"gateway"`).MatchString(o.text) {
		t.Error(o.text)
	}
}

func TestACollectorThatRefusesIsComplainedOfOnceAMinute(t *testing.T) {
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
	z := newZipkinServer(t, 500)
	g := start(t, newUpstream(t).address, withTraces(t, z.url))
	eventually(t, func() bool {
		if got := g.ask(t, "GET", "/stock/info?sku=1", ""); got.StatusCode != 200 {
			t.Fatal(got.StatusCode, got.text)
		}
		z.mu.Lock()
		defer z.mu.Unlock()
		return z.posts > 3
	})
	if got := strings.Count(g.log.String(), `"event":"traces are not sent"`); got != 1 {
		t.Error(got, g.log)
	}
}

func TestComplaintsGoOnAfterAMinute(t *testing.T) {
	var log lines
	s := &seldom{log: newLog(&log, "json", slog.LevelInfo)}
	for range 3 {
		s.Handle(io.EOF)
	}
	s.next = s.next.Add(-time.Minute)
	s.Handle(io.EOF)
	if got := strings.Count(log.String(), "\n"); got != 2 {
		t.Error(log.String())
	}
}

func TestACollectorThatIsNotThereDelaysNothing(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	u := newUpstream(t)
	for _, settings := range [][]string{
		{"OTEL_TRACES_EXPORTER=zipkin", "OTEL_EXPORTER_ZIPKIN_ENDPOINT=http://" + silent.Addr().String()},
		{"OTEL_TRACES_EXPORTER=zipkin", "OTEL_EXPORTER_ZIPKIN_ENDPOINT=http://" + gone.Addr().String()},
		{"OTEL_TRACES_EXPORTER=otlp", "OTEL_EXPORTER_OTLP_ENDPOINT=http://" + silent.Addr().String()},
		{"OTEL_TRACES_EXPORTER=otlp", "OTEL_EXPORTER_OTLP_ENDPOINT=http://" + gone.Addr().String()},
	} {
		t.Run(strings.Join(settings, " "), func(t *testing.T) {
			r := runProgram(t, nil, append(settings, "GATEWAY_LOMS_ADDRESS="+u.address)...)
			r.listens(t)
			response, err := http.Get(r.url + "/stock/info?sku=1")
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			http.DefaultClient.CloseIdleConnections()
			begun := time.Now()
			r.stop()
			r.ends(t, 0)
			if took := time.Since(begun); took > flush+500*time.Millisecond || response.StatusCode != 200 {
				t.Error(took, response.StatusCode)
			}
		})
	}
}

func TestTheStandardSamplersCanBeChosen(t *testing.T) {
	const ofParent = ",remoteParentSampled:AlwaysOnSampler,remoteParentNotSampled:AlwaysOffSampler," +
		"localParentSampled:AlwaysOnSampler,localParentNotSampled:AlwaysOffSampler}"
	for _, c := range []struct{ settings, want string }{
		{"", "ParentBased{root:AlwaysOnSampler" + ofParent},
		{"OTEL_TRACES_SAMPLER=", "ParentBased{root:AlwaysOnSampler" + ofParent},
		{"OTEL_TRACES_SAMPLER=always_on", "AlwaysOnSampler"},
		{"OTEL_TRACES_SAMPLER=always_off OTEL_TRACES_SAMPLER_ARG=x", "AlwaysOffSampler"},
		{"OTEL_TRACES_SAMPLER=traceidratio", "TraceIDRatioBased{1}"},
		{"OTEL_TRACES_SAMPLER=traceidratio OTEL_TRACES_SAMPLER_ARG=0.25", "TraceIDRatioBased{0.25}"},
		{"OTEL_TRACES_SAMPLER=parentbased_always_on", "ParentBased{root:AlwaysOnSampler" + ofParent},
		{"OTEL_TRACES_SAMPLER=parentbased_always_off", "ParentBased{root:AlwaysOffSampler" + ofParent},
		{"OTEL_TRACES_SAMPLER=parentbased_traceidratio OTEL_TRACES_SAMPLER_ARG=0.01", "ParentBased{root:TraceIDRatioBased{0.01}" + ofParent},
	} {
		read, err := readConfig(environ(strings.Fields(c.settings)...))
		if err != nil || read.tracing.sampler.Description() != c.want {
			t.Errorf("%q: %v %s", c.settings, err, read.tracing.sampler.Description())
		}
	}
}

func TestTheSamplerThatIsChosenDecides(t *testing.T) {
	u := newUpstream(t)
	for sampler, flags := range map[string]string{"always_on": "01", "always_off": "00"} {
		g := start(t, u.address, withTraces(t, newZipkinServer(t, 202).url, "OTEL_TRACES_SAMPLER="+sampler))
		g.ask(t, "GET", "/stock/info?sku=1", "")
		if got := u.header["traceparent"]; len(got) != 1 || !strings.HasSuffix(got[0], "-"+flags) {
			t.Error(sampler, got)
		}
	}
}

func TestEveryMistakeInAVariableOfTheStandardIsListed(t *testing.T) {
	_, err := readConfig(environ("GATEWAY_ACCESS=yes", "OTEL_TRACES_EXPORTER=jaeger", "OTEL_EXPORTER_OTLP_ENDPOINT=localhost:4317",
		"OTEL_EXPORTER_ZIPKIN_ENDPOINT=http://user:s3cr3t@localhost", "OTEL_TRACES_SAMPLER=parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG=NaN"))
	want := `GATEWAY_ACCESS="yes": must be one of off, on
OTEL_TRACES_EXPORTER="jaeger": must be one of otlp, zipkin, none
OTEL_EXPORTER_OTLP_ENDPOINT="localhost:4317": must be a URL such as http://localhost:4317
OTEL_EXPORTER_ZIPKIN_ENDPOINT="http://user:xxxxx@localhost": must be a URL such as http://localhost:9411/api/v2/spans, without a user
OTEL_TRACES_SAMPLER_ARG="NaN": must be a number from 0 to 1`
	if err == nil || err.Error() != want {
		t.Error(err)
	}
}
