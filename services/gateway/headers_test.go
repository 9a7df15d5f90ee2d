package main

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// seen are the names of the metadata that a service got, less those of gRPC.
func (u *upstream) seen() []string {
	names := slices.Sorted(maps.Keys(u.header))
	return slices.DeleteFunc(names, func(name string) bool {
		return name == ":authority" || name == "content-type" || name == "user-agent" || name == "grpc-accept-encoding"
	})
}

func TestOnlyListedHeadersReachTheServices(t *testing.T) {
	u := newUpstream(t)
	g := start(t, u.address)
	t.Run("under their own names", func(t *testing.T) {
		g.ask(t, "GET", "/stock/info?sku=1", "", "Authorization: Bearer testtoken", "X-Request-Id: abc",
			"Traceparent: 00-1-2-01", "Tracestate: a=b", "Tracestate: c=d", "Idempotency-Key: k")
		for name, want := range map[string]string{
			"authorization": "Bearer testtoken", "x-request-id": "abc", "traceparent": "00-1-2-01",
			"tracestate": "a=b,c=d", "idempotency-key": "k",
		} {
			if got := u.header.Get(name); len(got) != 1 || got[0] != want {
				t.Errorf("%s: %q", name, got)
			}
		}
		if got := u.seen(); len(got) != 5 {
			t.Error(got)
		}
	})
	for _, header := range []string{
		"Grpc-Metadata-X-User-Id: 1", "Grpc-Metadata-Authorization: Bearer x", "Grpc-Timeout: 1n", "X-User-Id: 1", "Cookie: a=b",
		"X-Forwarded-For: 1.2.3.4", "X-Forwarded-Host: evil", "X-Data-Bin: AAAA", "Grpc-Metadata-X-Bin: !", "Host: evil",
		"Grpcgateway-Authorization: x", "Te: trailers", "Connection: x-request-id", "X_Request_Id: a", "Accept-Language: de",
		"Origin: http://evil", "Referer: http://evil", "Forwarded: for=1", "Grpc-Encoding: gzip", "Content-Language: de",
		"Authorisation: x", "Proxy-Authorization: x", "X-HTTP-Method-Override: POST", "Via: x", "User-Agent: x",
		"Grpc-Trace-Bin: AAAA", "X-B3-TraceId: 1", "Baggage: a=b", "Traceparent: caf\u00e9", "Tracestate: without=parent",
	} {
		t.Run("and not "+header, func(t *testing.T) {
			got := g.ask(t, "GET", "/stock/info?sku=1", "", header)
			if got.StatusCode != 200 || !slices.Equal(u.seen(), []string{"x-request-id"}) {
				t.Error(got.StatusCode, got.text, u.header)
			}
			if u.left < 4*time.Second {
				t.Errorf("the call had %s", u.left)
			}
		})
	}
}

func TestHeadersThatCannotBeUsedAreRefused(t *testing.T) {
	u := newUpstream(t)
	g := start(t, u.address)
	for promise, headers := range map[string][]string{
		"two tokens":             {"Authorization: Bearer a", "Authorization: Bearer b"},
		"a token with an accent": {"Authorization: Bearer caf\u00e9"},
		"a token with a tab":     {"Authorization: Bearer\ta"},
	} {
		t.Run(promise+" with 401", func(t *testing.T) {
			got := g.ask(t, "GET", "/stock/info?sku=1", "", headers...)
			if got.StatusCode != 401 || got.status.Code != 16 || got.Header.Get("WWW-Authenticate") != "Bearer" {
				t.Error(got.StatusCode, got.text)
			}
		})
	}
	for promise, headers := range map[string][]string{
		"two keys":             {"Idempotency-Key: a", "Idempotency-Key: a"},
		"a key with an accent": {"Idempotency-Key: caf\u00e9"},
	} {
		t.Run(promise+" with 400", func(t *testing.T) {
			if got := g.ask(t, "GET", "/stock/info?sku=1", "", headers...); !got.names("Idempotency-Key", "header.syntax") {
				t.Error(got.StatusCode, got.text)
			}
		})
	}
	for size, want := range map[int]int{5 << 10: 200, 7 << 10: 431, 17 << 10: 431, 1 << 20: 431} {
		got := g.ask(t, "GET", "/stock/info?sku=1", "", "Authorization: "+strings.Repeat("a", size))
		if got.StatusCode != want {
			t.Errorf("a token of %d bytes: %d %s", size, got.StatusCode, got.text)
		}
	}
	if u.calls != 1 {
		t.Errorf("the services got %d calls", u.calls)
	}
}

func TestEveryAnswerHasARequestID(t *testing.T) {
	u := newUpstream(t)
	g := start(t, u.address)
	for _, given := range []string{"a", "A-Z_0.9:x", strings.Repeat("x", 128)} {
		if got := g.ask(t, "GET", "/nowhere", "", "X-Request-Id: "+given).Header.Get("X-Request-Id"); got != given {
			t.Errorf("%q became %q", given, got)
		}
	}
	for _, headers := range [][]string{
		nil, {"X-Request-Id: "}, {"X-Request-Id: a b"}, {"X-Request-Id: caf\u00e9"}, {"X-Request-Id: " + strings.Repeat("x", 129)},
		{"X-Request-Id: a", "X-Request-Id: b"},
	} {
		got := g.ask(t, "GET", "/stock/info?sku=1", "", headers...).Header.Get("X-Request-Id")
		if len(got) != 32 || u.header.Get("x-request-id")[0] != got {
			t.Errorf("%q became %q, and %q for the service", headers, got, u.header.Get("x-request-id"))
		}
	}
}

func TestNothingOfTheServicesMetadataIsAnswered(t *testing.T) {
	g := start(t, newUpstream(t).address)
	for _, header := range []string{"Accept: */*", "Te: trailers"} {
		got := g.ask(t, "GET", "/stock/info?sku=1", "", header)
		names := slices.Sorted(maps.Keys(got.Header))
		want := []string{"Cache-Control", "Content-Length", "Content-Type", "Date", "X-Content-Type-Options", "X-Request-Id"}
		if !slices.Equal(names, want) || len(got.Trailer) != 0 {
			t.Error(got.Header, got.Trailer)
		}
	}
}

func TestOnlyListedOriginsMayReadAnswers(t *testing.T) {
	u := newUpstream(t)
	g := start(t, u.address, withOrigins("http://localhost:3000", "https://shop.example"))
	for origin, allowed := range map[string]bool{
		"http://localhost:3000": true, "https://shop.example": true, "http://shop.example": false, "https://shop.example:8443": false,
		"https://evil.shop.example": false, "null": false, "*": false, "": false,
	} {
		for _, method := range []string{"OPTIONS", "GET"} {
			got := g.ask(t, method, "/stock/info?sku=1", "", "Origin: "+origin, "Access-Control-Request-Method: GET")
			if said := got.Header.Get("Access-Control-Allow-Origin"); allowed != (said == origin && said != "") || !allowed && said != "" {
				t.Errorf("%s from %q: %q", method, origin, said)
			}
			if methods := got.Header.Get("Access-Control-Allow-Methods"); allowed && method == "OPTIONS" != (methods != "") {
				t.Errorf("%s from %q: %q", method, origin, methods)
			}
			if got.Header.Get("Vary") != "Origin" || got.Header.Get("Access-Control-Allow-Credentials") != "" {
				t.Error(got.Header)
			}
		}
	}
	got := start(t, u.address).ask(t, "GET", "/stock/info?sku=1", "", "Origin: http://localhost:3000")
	if got.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("there is no list, and an origin is allowed")
	}
}
