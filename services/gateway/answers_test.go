package main

import (
	"io"
	"net"
	"strings"
	"testing"
)

func TestAnswersPrintZeroValuesAndNoSpaces(t *testing.T) {
	g := start(t, newUpstream(t).address)
	for _, c := range []struct{ method, path, body, want string }{
		{"GET", "/stock/info?sku=1", "", `{"count":"0"}`},
		{"GET", "/product", "", `{"skus":[]}`},
		{"GET", "/product/7", "", `{"sku":7,"name":"Нравственность, \"и\" \\ что , ещё","price":0}`},
		{"GET", "/order/info?orderId=1", "", `{"status":"awaiting payment","userId":"1","items":[{"sku":1,"count":2},{"sku":3,"count":4}]}`},
		{"GET", "/order/1/notifications", "", `{"notifications":[{"status":"new","moment":"2026-01-02T03:04:05.678Z"}]}`},
		{"POST", "/cart/checkout", `{"userId":"1"}`, `{"orderId":"9223372036854775807"}`},
		{"POST", "/order/pay", `{"orderId":1}`, `{}`},
	} {
		got := g.ask(t, c.method, c.path, c.body)
		if got.StatusCode != 200 || got.text != c.want || got.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %s", c.path, got.StatusCode, got.text)
		}
	}
}

func TestA204HasNoBody(t *testing.T) {
	g := start(t, newUpstream(t).address)
	conn, err := net.Dial("tcp", strings.TrimPrefix(g.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = conn.Write([]byte("DELETE /user/1/cart HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
	raw, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw)
	if !strings.HasPrefix(text, "HTTP/1.1 204 ") || !strings.HasSuffix(text, "\r\n\r\n") || strings.Count(text, "\r\n\r\n") != 1 ||
		strings.Contains(text, "\nContent-Type") || strings.Contains(text, "\nContent-Length") {
		t.Error(text)
	}
}

func TestCompactTakesOutOnlyTheSpacesBetween(t *testing.T) {
	for text, want := range map[string]string{
		`{"a": 1, "b": [1, 2]}`:       `{"a":1,"b":[1,2]}`,
		`{"a, b":"c , d", "e":"\" "}`: `{"a, b":"c , d","e":"\" "}`,
		`{"a":"\\", "b":1}`:           `{"a":"\\","b":1}`,
		``:                            ``,
	} {
		if got := string(compact([]byte(text))); got != want {
			t.Errorf("%s became %s", text, got)
		}
	}
}
