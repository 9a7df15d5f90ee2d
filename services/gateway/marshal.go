package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// marshaler is proto JSON as the contract wants it: zero values are printed, and
// the same message is the same text in every build.
type marshaler struct{ runtime.JSONPb }

func newMarshaler() *marshaler {
	return &marshaler{runtime.JSONPb{MarshalOptions: protojson.MarshalOptions{EmitUnpopulated: true}}}
}

func (m *marshaler) Marshal(v any) ([]byte, error) {
	text, err := m.JSONPb.Marshal(v)
	return compact(text), err
}

// checkedBody is a body that the edge has read and checked.
type checkedBody struct {
	bytes.Reader
	text []byte
}

func newCheckedBody(text []byte) *checkedBody {
	b := &checkedBody{text: text}
	b.Reset(text)
	return b
}

func (*checkedBody) Close() error { return nil }

// NewDecoder spares the copies of runtime.JSONPb, and its leniency with what
// follows the value.
func (m *marshaler) NewDecoder(r io.Reader) runtime.Decoder {
	return runtime.DecoderFunc(func(v any) error {
		body, ok := r.(*checkedBody)
		if !ok {
			return fmt.Errorf("the body of a %T was not checked", v)
		}
		if err := m.UnmarshalOptions.Unmarshal(body.text, v.(proto.Message)); err != nil {
			// Its prefix and its spaces vary between builds.
			text := strings.TrimPrefix(strings.ReplaceAll(err.Error(), "\u00a0", " "), "proto: ")
			return fmt.Errorf("the body does not fit: %s", text)
		}
		return nil
	})
}

// compact takes out, in place, the spaces that protojson adds in some builds and
// leaves out in others.
func compact(text []byte) []byte {
	out, inString := text[:0], false
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '"':
			inString = !inString
		case c == '\\' && inString:
			out = append(out, c)
			i++
			c = text[i]
		case c == ' ' && !inString:
			continue
		}
		out = append(out, c)
	}
	return out
}
