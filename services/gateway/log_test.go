package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestTheLogHasOneLinePerRequest(t *testing.T) {
	g := start(t, newUpstream(t).address)
	g.ask(t, "GET", "/user/31415926535/cart?token=s3cr3t", "", "Authorization: Bearer s3cr3t", "X-Request-Id: r1")
	deadline := time.Now().Add(time.Second)
	for !strings.Contains(g.log.String(), "\n") && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	line := g.log.String()
	for _, part := range []string{
		`"level":"info"`, `"service":"gateway"`, `"event":"request"`, `"method":"GET"`, `"route":"/user/{user_id}/cart"`,
		`"status":400`, `"duration_ms":`, `"request_id":"r1"`,
	} {
		if !strings.Contains(line, part) {
			t.Errorf("%s is not in %s", part, line)
		}
	}
	if strings.Contains(line, "s3cr3t") || strings.Contains(line, "31415926535") || strings.Count(line, "\n") != 1 {
		t.Error(line)
	}
}

func TestALineOfJSONHasTheKeysOfTheServices(t *testing.T) {
	var out bytes.Buffer
	newLog(&out, "json", slog.LevelInfo).Warn("request", "status", 200, "error", "<a&b>")
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(slices.Sorted(maps.Keys(line)), " "); got != "error event level service status timestamp" {
		t.Error(got)
	}
	moment, _ := line["timestamp"].(string)
	if !regexp.MustCompile(`^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$`).MatchString(moment) || line["level"] != "warning" {
		t.Error(out.String())
	}
}

func TestALineOnAConsoleHasTheLayoutOfTheServices(t *testing.T) {
	for _, c := range []struct {
		promise string
		say     func(*slog.Logger)
		want    string
	}{
		{"a request", func(l *slog.Logger) {
			l.Info("request", "route", "/user/{user_id}/cart", "status", 200, "duration_ms", 0.125)
		},
			"[info     ] request service=gateway route=/user/{user_id}/cart status=200 duration_ms=0.125"},
		{"another level", func(l *slog.Logger) { l.Warn("slow") }, "[warning  ] slow service=gateway"},
		{"the highest level", func(l *slog.Logger) { l.Error("bad", "error", errors.New("no")) }, "[error    ] bad service=gateway error=no"},
		{"a value with spaces", func(l *slog.Logger) { l.Info("a", "b", "c d") }, `[info     ] a service=gateway b='c d'`},
		{"a value with quotes", func(l *slog.Logger) { l.Info("a", "b", `"`) }, `[info     ] a service=gateway b='"'`},
		{"a value with the other quotes", func(l *slog.Logger) { l.Info("a", "b", `it's`) }, `[info     ] a service=gateway b="it's"`},
		{"a value of lines", func(l *slog.Logger) { l.Info("a", "b", "c\nd=e") }, `[info     ] a service=gateway b='c\nd=e'`},
		{"a message of lines", func(l *slog.Logger) { l.Error("a\nb") }, `[error    ] 'a\nb' service=gateway`},
		{"a value that moves the cursor", func(l *slog.Logger) { l.Info("a", "b", "\x1b[2J") }, `[info     ] a service=gateway b='\x1b[2J'`},
		{"a word in Cyrillic", func(l *slog.Logger) { l.Info("a", "b", "Ж") }, "[info     ] a service=gateway b=Ж"},
		{"a bound value", func(l *slog.Logger) { l.With("side", ":1").Info("a", "b", true) }, "[info     ] a service=gateway side=:1 b=true"},
	} {
		t.Run(c.promise, func(t *testing.T) {
			var out bytes.Buffer
			c.say(newLog(&out, "console", slog.LevelInfo))
			layout := `^\d\d:\d\d:\d\d\.\d{3} ` + regexp.QuoteMeta(c.want) + "\n$"
			if !regexp.MustCompile(layout).MatchString(out.String()) {
				t.Error(out.String())
			}
		})
	}
}

func TestTheLogHasNoLinesBelowItsLevel(t *testing.T) {
	for level, want := range map[string]string{
		"debug": "debug info warning error", "info": "info warning error", "warning": "warning error", "error": "error",
	} {
		for _, format := range []string{"console", "json"} {
			var out bytes.Buffer
			log := newLog(&out, format, levels[level])
			log.Debug("said")
			log.Info("said")
			log.Warn("said")
			log.Error("said")
			found := regexp.MustCompile(`debug|info|warning|error`).FindAllString(out.String(), -1)
			if got := strings.Join(found, " "); got != want {
				t.Errorf("%s at %s: %s", format, level, out.String())
			}
		}
	}
}
