package main

import (
	"bytes"
	"net/http"
	"net/http/pprof"
	"strconv"
	"time"

	runtimepprof "runtime/pprof"

	"google.golang.org/grpc/codes"
)

// profiles are for operators only: what they show is not for callers, and making
// them costs time.
var profiles = map[string]http.Handler{
	"/debug/profile":         http.HandlerFunc(profile),
	"/debug/pprof/heap":      pprof.Handler("heap"),
	"/debug/pprof/goroutine": pprof.Handler("goroutine"),
}

// profile answers what takes CPU in the next seconds, in the format of pprof.
func profile(w http.ResponseWriter, r *http.Request) {
	wanted := r.URL.Query().Get("seconds")
	if wanted == "" {
		wanted = "5"
	}
	seconds, err := strconv.ParseFloat(wanted, 64)
	if err != nil || !(seconds >= 0.1 && seconds <= 60) {
		var found violations
		found.add("seconds", "query.range", "must be a number from 0.1 to 60")
		writeError(w, http.StatusBadRequest, found.status())
		return
	}
	// It may take longer than any call.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})
	var made bytes.Buffer
	if err := runtimepprof.StartCPUProfile(&made); err != nil {
		refuse(w, http.StatusConflict, codes.Aborted, "another profile is being made")
		return
	}
	select {
	case <-time.After(time.Duration(seconds * float64(time.Second))):
	case <-r.Context().Done():
	}
	runtimepprof.StopCPUProfile()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Disposition", `attachment; filename="profile.pb.gz"`)
	_, _ = w.Write(made.Bytes())
}
