package main

import (
	"context"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"unicode"
)

// consoleHandler writes lines for people, such as
//
//	12:34:56.789 [info     ] request service=gateway status=200
type consoleHandler struct {
	out    *sharedWriter
	lowest slog.Level
	bound  string // facts of every line
}

// sharedWriter takes one line at a time.
type sharedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (h *consoleHandler) Enabled(_ context.Context, level slog.Level) bool { return level >= h.lowest }

func (h *consoleHandler) Handle(_ context.Context, record slog.Record) error {
	var line strings.Builder
	line.WriteString(record.Time.UTC().Format("15:04:05.000"))
	level := levelName(record.Level)
	line.WriteString(" [" + level + strings.Repeat(" ", max(0, len("exception")-len(level))) + "] ")
	if strings.ContainsFunc(record.Message, isUnprintable) {
		line.WriteString(quoted(record.Message))
	} else {
		line.WriteString(record.Message)
	}
	line.WriteString(h.bound)
	record.Attrs(func(a slog.Attr) bool {
		line.WriteString(fact(a))
		return true
	})
	line.WriteByte('\n')
	h.out.mu.Lock()
	defer h.out.mu.Unlock()
	_, err := io.WriteString(h.out.w, line.String())
	return err
}

func (h *consoleHandler) WithAttrs(attributes []slog.Attr) slog.Handler {
	more := *h
	for _, a := range attributes {
		more.bound += fact(a)
	}
	return &more
}

// WithGroup has nothing to do: no line of the gateway has groups.
func (h *consoleHandler) WithGroup(string) slog.Handler { return h }

func fact(a slog.Attr) string {
	value := a.Value.Resolve().String()
	if strings.ContainsAny(value, " ='\"") || strings.ContainsFunc(value, isUnprintable) {
		value = quoted(value)
	}
	return " " + a.Key + "=" + value
}

func isUnprintable(r rune) bool { return !unicode.IsPrint(r) }

// quoted prefers single quotes, as Python does.
func quoted(text string) string {
	inDouble := strconv.Quote(text)
	if strings.Contains(text, "'") {
		return inDouble
	}
	return "'" + strings.ReplaceAll(inDouble[1:len(inDouble)-1], `\"`, `"`) + "'"
}
