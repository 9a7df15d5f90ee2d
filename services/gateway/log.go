package main

import (
	"io"
	"log/slog"
)

// levels by the names that the services give them.
var levels = map[string]slog.Level{
	"debug": slog.LevelDebug, "info": slog.LevelInfo, "warning": slog.LevelWarn, "error": slog.LevelError,
}

func levelName(level slog.Level) string {
	for name, l := range levels {
		if l == level {
			return name
		}
	}
	return level.String()
}

// newLog writes what the services write: the same keys in JSON, the same layout
// on a console.
func newLog(w io.Writer, format string, lowest slog.Level) *slog.Logger {
	var handler slog.Handler = &consoleHandler{out: &sharedWriter{w: w}, lowest: lowest}
	if format == "json" {
		handler = slog.NewJSONHandler(w, &slog.HandlerOptions{Level: lowest, ReplaceAttr: nameAsTheServices})
	}
	return slog.New(handler).With("service", "gateway")
}

func nameAsTheServices(_ []string, a slog.Attr) slog.Attr {
	switch a.Key {
	case slog.TimeKey:
		return slog.String("timestamp", a.Value.Time().UTC().Format("2006-01-02T15:04:05.000000Z"))
	case slog.LevelKey:
		if level, ok := a.Value.Any().(slog.Level); ok {
			return slog.String(a.Key, levelName(level))
		}
	case slog.MessageKey:
		return slog.Attr{Key: "event", Value: a.Value}
	}
	return a
}
