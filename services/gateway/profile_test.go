package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	runtimepprof "runtime/pprof"
)

// unzipped is what a profile in the format of pprof holds.
func unzipped(t *testing.T, profile string) string {
	t.Helper()
	reader, err := gzip.NewReader(strings.NewReader(profile))
	if err != nil {
		t.Fatal(err, profile)
	}
	text, err := io.ReadAll(reader)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func spinUntil(done *atomic.Bool) {
	for !done.Load() {
	}
}

func TestAProfileNamesWhatIsBusy(t *testing.T) {
	side := start(t, newUpstream(t).address).operators(t)
	var done atomic.Bool
	defer done.Store(true)
	go spinUntil(&done)
	got := side.ask(t, "GET", "/debug/profile?seconds=0.3", "")
	if got.StatusCode != 200 || !strings.Contains(unzipped(t, got.text), "spinUntil") {
		t.Error(got.StatusCode)
	}
}

func TestAProfileMayTakeLongerThanAnyRequest(t *testing.T) {
	g := start(t, newUpstream(t).address)
	server := httptest.NewUnstartedServer(g.side)
	server.Config.WriteTimeout = 50 * time.Millisecond
	server.Start()
	defer server.Close()
	side := &started{g.gateway, server.URL, g.log}
	if got := side.ask(t, "GET", "/debug/profile?seconds=0.2", ""); got.StatusCode != 200 || got.text == "" {
		t.Error(got.StatusCode)
	}
}

func TestAProfileTakesSomeSeconds(t *testing.T) {
	side := start(t, newUpstream(t).address).operators(t)
	for _, seconds := range []string{"0", "0.09", "60.1", "-1", "NaN", "five", "1e9"} {
		got := side.ask(t, "GET", "/debug/profile?seconds="+seconds, "")
		if !got.names("seconds", "query.range") {
			t.Error(seconds, got.StatusCode, got.text)
		}
	}
}

func TestThereIsOneProfileAtATime(t *testing.T) {
	side := start(t, newUpstream(t).address).operators(t)
	if err := runtimepprof.StartCPUProfile(&bytes.Buffer{}); err != nil {
		t.Fatal(err)
	}
	got := side.ask(t, "GET", "/debug/profile?seconds=0.1", "")
	runtimepprof.StopCPUProfile()
	if got.StatusCode != 409 || got.status.Code != 10 {
		t.Error(got.StatusCode, got.text)
	}
	if got := side.ask(t, "GET", "/debug/profile?seconds=0.1", ""); got.StatusCode != 200 {
		t.Error(got.StatusCode, got.text)
	}
}

func TestAProfileEndsWhenNobodyWaitsForIt(t *testing.T) {
	g := start(t, newUpstream(t).address)
	gone, leave := context.WithCancel(context.Background())
	leave()
	begun := time.Now()
	g.side.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/debug/profile?seconds=5", nil).WithContext(gone))
	if took := time.Since(begun); took > 4*time.Second {
		t.Error(took)
	}
}

func TestTheHeapAndTheGoroutinesCanBeSeen(t *testing.T) {
	side := start(t, newUpstream(t).address).operators(t)
	for path, want := range map[string]string{"/debug/pprof/heap": "inuse_space", "/debug/pprof/goroutine": "goroutine"} {
		if got := side.ask(t, "GET", path, ""); !strings.Contains(unzipped(t, got.text), want) {
			t.Error(path, got.StatusCode)
		}
	}
}
