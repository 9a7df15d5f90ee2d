package main

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

func withReadTimeout(limit time.Duration) func(*setup) {
	return func(s *setup) { s.server.ReadTimeout = limit }
}

func withOrigins(origins ...string) func(*setup) {
	return func(s *setup) { s.corsOrigins = origins }
}

func TestABodyHasAtMostOneMebibyte(t *testing.T) {
	u := newUpstream(t)
	g := start(t, u.address)
	for size, want := range map[int]int{maxBody: 200, maxBody + 1: 413, 8 << 20: 413} {
		body := `{"orderId":1}` + strings.Repeat(" ", size-len(`{"orderId":1}`))
		if got := g.ask(t, "POST", "/order/pay", body); got.StatusCode != want || want == 413 && got.status.Code != 8 {
			t.Errorf("%d bytes: %d %s", size, got.StatusCode, got.text)
		}
		request, _ := http.NewRequest("POST", g.url+"/order/pay", io.MultiReader(strings.NewReader(body)))
		request.Header.Set("Content-Type", "application/json")
		response, err := http.DefaultTransport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("%d bytes in chunks: %d", size, response.StatusCode)
		}
	}
	if u.calls != 2 {
		t.Errorf("the services got %d calls", u.calls)
	}
}

func TestADeepBodyIsRefused(t *testing.T) {
	g := start(t, newUpstream(t).address)
	for promise, body := range map[string]string{
		"of lists":           strings.Repeat("[", 10000) + strings.Repeat("]", 10000),
		"of objects":         strings.Repeat(`{"a":`, 10000) + "1" + strings.Repeat("}", 10000),
		"that is not closed": strings.Repeat("[", 1<<19),
	} {
		if got := g.ask(t, "POST", "/order/pay", `{"x":`+body+`}`); !got.names("", "json.depth") {
			t.Errorf("%s: %d %.200s", promise, got.StatusCode, got.text)
		}
	}
}

func TestABodyOfMistakesHasAShortAnswer(t *testing.T) {
	g := start(t, newUpstream(t).address)
	got := g.ask(t, "POST", "/order/create", `{"items":[`+strings.Repeat("null,", 200000)+`null]}`)
	if !got.names("items[49]", "json.null") || len(got.text) > 10000 {
		t.Errorf("%d, %d bytes", got.StatusCode, len(got.text))
	}
	got = g.ask(t, "POST", "/order/create", `{"`+strings.Repeat("é", 400000)+`":1}`)
	if got.StatusCode != 400 || len(got.text) > 2000 {
		t.Errorf("%d, %d bytes", got.StatusCode, len(got.text))
	}
}

func TestWhatDoesNotArriveIsNotWaitedFor(t *testing.T) {
	g := start(t, newUpstream(t).address, withReadTimeout(100*time.Millisecond))
	for promise, c := range map[string]struct{ request, want string }{
		"the rest of a body":      {"POST /order/pay HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{", "HTTP/1.1 408 "},
		"the first byte of a one": {"GET /stock/info?sku=1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.1 408 "},
		"a well-framed body":      {"POST /order/pay HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "HTTP/1.1 400 "},
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(g.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write([]byte(c.request))
		_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		line := make([]byte, len(c.want))
		if _, err := io.ReadFull(conn, line); err != nil || string(line) != c.want {
			t.Errorf("%s: %q %v", promise, line, err)
		}
		conn.Close()
	}
}
