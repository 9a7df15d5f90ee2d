package main

import (
	"net/url"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// checkPath checks the variables of a path. grpc-gateway would read 0x10 as 16
// and 010 as 8.
func (r *route) checkPath(parts []string, found *violations) {
	for i, s := range r.segments {
		if s.field != nil {
			checkText(s.field, parts[i], found)
		}
	}
}

// checkQuery checks the parameters one by one, in their order.
func (r *route) checkQuery(query string, found *violations) {
	var seen map[string]bool
	for pair := range strings.SplitSeq(query, "&") {
		if pair == "" {
			continue
		}
		if strings.Contains(pair, ";") {
			found.add("", "query.syntax", "the query separates parameters with ; and not with &")
			continue
		}
		rawName, rawValue, _ := strings.Cut(pair, "=")
		name, wrongName := url.QueryUnescape(rawName)
		value, wrongValue := url.QueryUnescape(rawValue)
		field := r.query[name]
		switch {
		case wrongName != nil || !utf8.ValidString(name):
			found.add("", "query.syntax", "the query has a parameter whose name is badly escaped")
		case field == nil:
			found.add(name, "query.unknown", "there is no such parameter"+r.hint(name))
		case wrongValue != nil:
			found.add(string(field.Name()), "query.syntax", "must be properly escaped")
		case seen[name] && !field.IsList():
			found.add(string(field.Name()), "query.repeated", "must not be given twice")
		default:
			checkText(field, value, found)
		}
		if seen == nil {
			seen = map[string]bool{}
		}
		seen[name] = true
	}
}

// hint helps who writes a parameter in the spelling of the .proto.
func (r *route) hint(name string) string {
	for correct, field := range r.query {
		if string(field.Name()) == name {
			return ": its name is " + correct
		}
	}
	return ""
}

// checkText checks a value of a path or a query.
func checkText(field protoreflect.FieldDescriptor, text string, found *violations) {
	kind, name := field.Kind(), string(field.Name())
	switch {
	case isInteger(kind) && !isCanonical(text):
		found.add(name, kind.String()+".type", "must be an integer, written with decimal digits")
	case isInteger(kind):
		if fits, description := inRange(kind, text); !fits {
			found.add(name, kind.String()+".range", description)
		}
	case kind == protoreflect.StringKind && !utf8.ValidString(text):
		found.add(name, "string.utf8", "must be UTF-8")
	case kind == protoreflect.BoolKind && text != "true" && text != "false":
		found.add(name, "bool.type", "must be true or false")
	case kind == protoreflect.EnumKind && field.Enum().Values().ByName(protoreflect.Name(text)) == nil:
		found.add(name, "enum.type", "must be the name of a value")
	case text == "" && kind != protoreflect.StringKind:
		found.add(name, kind.String()+".type", "must not be empty")
	}
}
