package main

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/dynamicpb"
)

func TestIntegersOfAnyNotation(t *testing.T) {
	for number, want := range map[string]string{
		"0": "0", "-0": "0", "-0.0": "0", "0e9": "0", "0e99999999999999999999": "0", "12": "12", "-12": "-12", "1.0": "1", "1e2": "100",
		"1E+2": "100", "100e-2": "1", "1.50e1": "15", "0.1e1": "1", "0.01e2": "01", "-1.5e1": "-15", "1.5": "", "1e-1": "", "12e-1": "",
		"1.55e1": "", "1e-99999999999999999999": "", "1e19": "10000000000000000000", "1e999": tooLarge, "1e99999999999999999999": tooLarge,
	} {
		if got, whole := wholeDigits(number); got != want || whole != (want != "") {
			t.Errorf("%s: %s %v", number, got, whole)
		}
	}
}

func TestValuesThatAreLeftToProtojson(t *testing.T) {
	of := everything(t, "Request")
	for body, fits := range map[string]bool{
		`{"moment":"2026-01-02T03:04:05Z","status":"OLD"}`: true, `{"moment":1}`: false, `{"status":"NOPE"}`: false,
		`{"child":{"child":{"moment":"2026-01-02T03:04:05Z"}}}`: true,
	} {
		var found violations
		checkJSON([]byte(body), of, nil, &found)
		err := newMarshaler().NewDecoder(newCheckedBody([]byte(body))).Decode(dynamicpb.NewMessage(of))
		if len(found) != 0 || (err == nil) != fits {
			t.Errorf("%s: %v %v", body, found, err)
		}
		if err != nil && (!strings.HasPrefix(err.Error(), "the body does not fit: ") || strings.Contains(err.Error(), "proto:")) {
			t.Error(err)
		}
	}
}

func TestPlacesAreThoseOfTheServices(t *testing.T) {
	var found violations
	checkJSON([]byte(`{"children":[{},{"child":{"someInt32":[1,"2"],"aBool":1,"x":{"y":1},"sizes":{"a.b":-1}}}]}`), everything(t, "Request"), nil, &found)
	var all []string
	for _, v := range found {
		all = append(all, v.GetField()+" "+v.GetReason())
	}
	want := "children[1].child.some_int32[1] int32.type, children[1].child.a_bool bool.type, children[1].child.x json.unknown_field, " +
		`children[1].child.sizes["a.b"] uint32.range`
	if got := strings.Join(all, ", "); got != want {
		t.Error(got)
	}
}

func TestANestedFieldInTheSpellingOfTheProtoIsNamed(t *testing.T) {
	var found violations
	checkJSON([]byte(`{"children":[{},{"child":{"a_bool":true,"some_int32":[1]}}]}`), everything(t, "Request"), nil, &found)
	var all []string
	for _, v := range found {
		all = append(all, v.GetField()+" "+v.GetReason()+" "+v.GetDescription())
	}
	want := "children[1].child.a_bool json.unknown_field there is no such field: in JSON its name is aBool, " +
		"children[1].child.some_int32 json.unknown_field there is no such field: in JSON its name is someInt32"
	if got := strings.Join(all, ", "); got != want {
		t.Error(got)
	}
}

func BenchmarkTheCheckBesideProtojson(b *testing.B) {
	of := everything(b, "Checked")
	body := []byte(`{"aInt64":"1","children":[` + strings.Repeat(`{"aUint32":1148162,"someUint32":[1,2]},`, 19) + `{}]}`)
	b.Run("the check", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var found violations
			checkJSON(body, of, nil, &found)
		}
	})
	b.Run("protojson", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = protojson.Unmarshal(body, dynamicpb.NewMessage(of))
		}
	})
}
