package main

import (
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// files makes a folder like that of Swagger UI and an OpenAPI document.
func files(t testing.TB) (uiDir, openAPIFile string) {
	t.Helper()
	dir := t.TempDir()
	for path, content := range map[string]string{
		"openapi.json":                   `{"openapi":"3.1.0"}`,
		"ui/package.json":                "{}",
		"ui/.npmrc":                      "secret",
		"ui/" + inPackage + "README.md":  "secret",
		"ui/" + inPackage + "index.html": "not ours",
	} {
		writeFile(t, filepath.Join(dir, path), content)
	}
	for _, page := range pages {
		writeFile(t, filepath.Join(dir, "ui", page.file), "the content of "+page.file)
	}
	return filepath.Join(dir, "ui"), filepath.Join(dir, "openapi.json")
}

func writeFile(t testing.TB, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// started is a gateway that listens, and how to ask it.
type started struct {
	*gateway
	url string
	log *lines
}

// setup is what a test may change before the start.
type setup struct {
	config
	contract *contract
	server   *http.Server
}

func start(t testing.TB, address string, change ...func(*setup)) *started {
	t.Helper()
	said, err := contractOfServices()
	if err != nil {
		t.Fatal(err)
	}
	log := &lines{}
	s := &setup{config{addresses: map[string][]string{}}, said, newServer(nil, time.Minute, newLog(log, "json", slog.LevelInfo))}
	for _, service := range services {
		s.addresses[service.name] = strings.Split(address, ",")
	}
	s.uiDir, s.openAPIFile = files(t)
	for _, f := range change {
		f(s)
	}
	g, err := newGateway(s.config, s.contract, newLog(log, "json", slog.LevelInfo))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.server.Handler = g.public
	go func() { _ = s.server.Serve(listener) }()
	t.Cleanup(func() { _ = s.server.Close() })
	return &started{g, "http://" + listener.Addr().String(), log}
}

// lines is a log that can be read while it is written.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// answer is a response with its body, read as a google.rpc.Status if it is one.
type answer struct {
	*http.Response
	text   string
	status struct {
		Code    int
		Message string
		Details []struct {
			Type            string `json:"@type"`
			Reason, Domain  string
			FieldViolations []struct{ Field, Description, Reason string }
		}
	}
}

// ask sends a request; headers are "Name: value", and JSON is the default of a body.
func (s *started) ask(t testing.TB, method, path, body string, headers ...string) answer {
	t.Helper()
	request, err := http.NewRequest(method, s.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if name == "Content-Type" {
			request.Header.Del(name)
		}
		request.Header[http.CanonicalHeaderKey(name)] = append(request.Header[http.CanonicalHeaderKey(name)], value)
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := answer{Response: response, text: string(text)}
	_ = json.Unmarshal(text, &a.status)
	return a
}

// names tells whether the answer is a 400 that names the field and the rule.
func (a answer) names(field, rule string) bool {
	for _, detail := range a.status.Details {
		for _, v := range detail.FieldViolations {
			if v.Field == field && v.Reason == rule && v.Description != "" {
				return a.StatusCode == 400 && a.status.Code == 3 && detail.Type == "type.googleapis.com/google.rpc.BadRequest"
			}
		}
	}
	return false
}
