package main

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// route is one HTTP binding of an RPC.
type route struct {
	method, template string
	segments         []segment
	input            protoreflect.MessageDescriptor
	body             bool
	bound            map[protoreflect.Name]bool              // by the path
	query            map[string]protoreflect.FieldDescriptor // by JSON name
}

// segment is one part of a path: a literal, or a variable if it has a field.
type segment struct {
	literal string
	field   protoreflect.FieldDescriptor
}

// routes holds the routes by the number of segments.
type routes map[int][]*route

// add keeps out a route that a path could reach instead of another: which of
// them is called should not depend on their order.
func (rs routes) add(r *route) error {
	for _, other := range rs[len(r.segments)] {
		if r.method == other.method && r.meets(other) {
			return fmt.Errorf("%s %s and %s may be the same path", r.method, r.template, other.template)
		}
	}
	rs[len(r.segments)] = append(rs[len(r.segments)], r)
	return nil
}

func (r *route) meets(other *route) bool {
	for i, s := range r.segments {
		if o := other.segments[i]; s.field == nil && o.field == nil && s.literal != o.literal {
			return false
		}
	}
	return true
}

func (r *route) takes(parts []string) bool {
	for i, s := range r.segments {
		if s.field == nil && s.literal != parts[i] || parts[i] == "" {
			return false
		}
	}
	return true
}

// find gives the route of a request and the parts of its path, unescaped; or,
// when no route has this method, the routes of the path with other methods.
func (rs routes) find(method, escapedPath string) (found *route, parts []string, others []*route) {
	if !strings.HasPrefix(escapedPath, "/") {
		return nil, nil, nil
	}
	parts = strings.Split(escapedPath[1:], "/")
	for i, part := range parts {
		if !strings.Contains(part, "%") {
			continue
		}
		unescaped, err := url.PathUnescape(part)
		if err != nil || strings.Contains(unescaped, "/") {
			return nil, nil, nil // no route has a slash within a segment
		}
		parts[i] = unescaped
	}
	for _, r := range rs[len(parts)] {
		if !r.takes(parts) {
			continue
		}
		if r.method == method {
			return r, parts, nil
		}
		others = append(others, r)
	}
	return nil, nil, others
}

func readRoute(input protoreflect.MessageDescriptor, rule *annotations.HttpRule) (*route, error) {
	r := &route{input: input, body: rule.GetBody() == "*"}
	switch pattern := rule.GetPattern().(type) {
	case *annotations.HttpRule_Get:
		r.method, r.template = "GET", pattern.Get
	case *annotations.HttpRule_Put:
		r.method, r.template = "PUT", pattern.Put
	case *annotations.HttpRule_Post:
		r.method, r.template = "POST", pattern.Post
	case *annotations.HttpRule_Delete:
		r.method, r.template = "DELETE", pattern.Delete
	case *annotations.HttpRule_Patch:
		r.method, r.template = "PATCH", pattern.Patch
	default:
		return nil, fmt.Errorf("http rule: the gateway does not do %T", pattern)
	}
	if body := rule.GetBody(); body != "" && body != "*" || rule.GetResponseBody() != "" {
		return nil, fmt.Errorf(`http rule %s: the gateway does no body but "*" and no response_body`, r.template)
	}
	if err := r.readTemplate(); err != nil {
		return nil, fmt.Errorf("http rule %s: %w", r.template, err)
	}
	if r.body {
		return r, nil
	}
	r.query = map[string]protoreflect.FieldDescriptor{}
	for i := range input.Fields().Len() {
		field := input.Fields().Get(i)
		if r.bound[field.Name()] {
			continue
		}
		if field.IsMap() || field.Message() != nil && !wellKnown(field.Message()) {
			return nil, fmt.Errorf("http rule %s: %s cannot be a query parameter", r.template, field.Name())
		}
		r.query[field.JSONName()] = field
	}
	return r, nil
}

func (r *route) readTemplate() error {
	if !strings.HasPrefix(r.template, "/") {
		return errors.New("a path begins with /")
	}
	r.bound = map[protoreflect.Name]bool{}
	for part := range strings.SplitSeq(r.template[1:], "/") {
		name, isVariable := strings.CutPrefix(part, "{")
		name, closed := strings.CutSuffix(name, "}")
		if isVariable != closed || name == "" || strings.ContainsAny(name, "{}*=:.") {
			return fmt.Errorf("the gateway does no %q, only words and {field}", part)
		}
		if !isVariable {
			r.segments = append(r.segments, segment{literal: part})
			continue
		}
		field := r.input.Fields().ByName(protoreflect.Name(name))
		if field == nil || field.IsList() || field.Kind() != protoreflect.StringKind && !isInteger(field.Kind()) {
			return fmt.Errorf("%s must be a string or an integer of %s", part, r.input.FullName())
		}
		r.bound[field.Name()] = true
		r.segments = append(r.segments, segment{field: field})
	}
	return nil
}
