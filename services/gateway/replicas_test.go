package main

import (
	"testing"
	"time"
)

func eventually(t *testing.T, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !holds(); {
		if time.Now().After(end) {
			t.Fatal("it did not come true")
		}
	}
}

func TestEachReplicaGetsItsShareAndTheOthersThatOfOneThatIsGone(t *testing.T) {
	one, other := newUpstream(t), newUpstream(t)
	g := start(t, one.address+","+other.address)
	for n := range 200 {
		if got := g.ask(t, "GET", "/stock/info?sku=1", ""); got.StatusCode != 200 {
			t.Fatal(n, got.StatusCode, got.text)
		}
		if n == 100 {
			go one.server.GracefulStop()
		}
	}
	if one.calls < 20 || other.calls < 100 {
		t.Error(one.calls, other.calls)
	}
}

func TestAReplicaThatIsAboutToStopGetsNoMoreCalls(t *testing.T) {
	one, other := newUpstream(t), newUpstream(t)
	g := start(t, one.address+","+other.address)
	eventually(t, func() bool {
		g.ask(t, "GET", "/stock/info?sku=1", "")
		return one.calls > 0 && other.calls > 0
	})
	one.health.Shutdown()
	eventually(t, func() bool {
		before := one.calls
		for range 10 {
			if got := g.ask(t, "GET", "/stock/info?sku=1", ""); got.StatusCode != 200 {
				t.Fatal(got.StatusCode, got.text)
			}
		}
		return one.calls == before
	})
}
