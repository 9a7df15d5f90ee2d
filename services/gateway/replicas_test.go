package main

import "testing"

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
