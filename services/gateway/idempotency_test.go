package main

import (
	"testing"

	cartv1 "marketplace/gen/go/marketplace/cart/v1"
	lomsv1 "marketplace/gen/go/marketplace/loms/v1"
)

func TestTheIdempotencyKeyIsTheRequestID(t *testing.T) {
	const id, other = "0190b6f0-6c3e-7a4b-9c1d-0123456789ab", "0190b6f0-6c3e-7a4b-9c1d-ffffffffffff"
	u := newUpstream(t)
	g := start(t, u.address)
	header := "Idempotency-Key: " + id
	t.Run("it fills an absent field of a body", func(t *testing.T) {
		g.ask(t, "POST", "/order/create", `{"userId":1}`, header)
		if got := u.request.(*lomsv1.OrderCreateRequest).GetRequestId(); got != id {
			t.Error(got)
		}
	})
	t.Run("it fills an absent parameter", func(t *testing.T) {
		g.ask(t, "POST", "/checkout/1", "", header)
		if got := u.request.(*cartv1.CheckoutRequest).GetRequestId(); got != id {
			t.Error(got)
		}
	})
	t.Run("a field alone is left as it is", func(t *testing.T) {
		g.ask(t, "POST", "/order/create", `{"requestId":"`+other+`"}`)
		if got := u.request.(*lomsv1.OrderCreateRequest).GetRequestId(); got != other {
			t.Error(got)
		}
	})
	t.Run("the same in capitals is the same", func(t *testing.T) {
		got := g.ask(t, "POST", "/order/create", `{"requestId":"0190B6F0-6C3E-7A4B-9C1D-0123456789AB"}`, header)
		if got.StatusCode != 200 {
			t.Error(got.StatusCode, got.text)
		}
	})
	for path, body := range map[string]string{
		"/order/create":                  `{"requestId":"` + other + `"}`,
		"/checkout/1?requestId=" + other: "",
	} {
		t.Run("another one is 409 at "+path, func(t *testing.T) {
			before := u.calls
			got := g.ask(t, "POST", path, body, header)
			if got.StatusCode != 409 || got.status.Code != 10 || got.status.Details[0].Reason != "REQUEST_ID_REUSED" ||
				got.status.Details[0].Domain != "marketplace" || u.calls != before {
				t.Error(got.StatusCode, got.text)
			}
		})
	}
	t.Run("a call without the field ignores it", func(t *testing.T) {
		if got := g.ask(t, "POST", "/order/pay", `{"orderId":1}`, header); got.StatusCode != 200 {
			t.Error(got.StatusCode, got.text)
		}
	})
}
